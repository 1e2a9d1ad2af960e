//! Metrics of ranked candidates: classification and retrieval.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Metrics;

/// Where `wanted` comes when candidates are sorted by score, best first; of equal scores the first candidate wins.
pub fn rank(scores: &[f32], wanted: usize) -> usize {
    let own = scores.get(wanted).copied().unwrap_or(f32::NEG_INFINITY);
    let before = |(at, &score): (usize, &f32)| score > own || (score == own && at < wanted);
    scores
        .iter()
        .enumerate()
        .filter(|&place| before(place))
        .count()
}

/// `top1`, `top5` and `mean_per_class` from the rank of the right class for each image.
///
/// `classes` are the right classes; the mean per class is over those that occur.
pub fn classification(classes: &[usize], ranks: &[usize]) -> Metrics {
    let mut of_class: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (&class, &rank) in classes.iter().zip(ranks) {
        let (right, all) = of_class.entry(class).or_default();
        *right += usize::from(rank == 0);
        *all += 1;
    }
    let per_class = of_class
        .values()
        .map(|&(right, all)| right as f64 / all as f64);
    let mean_per_class = per_class.sum::<f64>() / of_class.len().max(1) as f64;
    Metrics::from([
        ("top1", within(ranks, 1)),
        ("top5", within(ranks, 5)),
        ("mean_per_class", mean_per_class),
    ])
}

/// Recall at 1, 5 and 10 in both directions: `i2t_*` counts an image when any of its captions is among the first,
/// `t2i_*` counts every caption.
///
/// `images` and `captions` are unit vectors; `image_of` is the image of each caption.
pub fn retrieval(images: &[Vec<f32>], captions: &[Vec<f32>], image_of: &[usize]) -> Metrics {
    let mut captions_of = vec![Vec::new(); images.len()];
    for (caption, &image) in image_of.iter().enumerate() {
        if let Some(captions) = captions_of.get_mut(image) {
            captions.push(caption);
        }
    }
    let cosines = |one: &Vec<f32>, many: &[Vec<f32>]| -> Vec<f32> {
        many.iter().map(|other| dot(one, other)).collect()
    };
    let best_caption = |(image, own): (&Vec<f32>, &Vec<usize>)| {
        let scores = cosines(image, captions);
        own.iter()
            .map(|&caption| rank(&scores, caption))
            .min()
            .unwrap_or(usize::MAX)
    };
    let i2t: Vec<usize> = images
        .par_iter()
        .zip(&captions_of)
        .map(best_caption)
        .collect();
    let own_image = |(caption, &image): (&Vec<f32>, &usize)| rank(&cosines(caption, images), image);
    let t2i: Vec<usize> = captions.par_iter().zip(image_of).map(own_image).collect();
    Metrics::from([
        ("i2t_r1", within(&i2t, 1)),
        ("i2t_r5", within(&i2t, 5)),
        ("i2t_r10", within(&i2t, 10)),
        ("t2i_r1", within(&t2i, 1)),
        ("t2i_r5", within(&t2i, 5)),
        ("t2i_r10", within(&t2i, 10)),
    ])
}

/// The share of ranks among the first `k`.
fn within(ranks: &[usize], k: usize) -> f64 {
    ranks.iter().filter(|&&rank| rank < k).count() as f64 / ranks.len().max(1) as f64
}

/// The inner product, in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum::<f64>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_better_candidates_and_earlier_equals() {
        let scores = [0.1, 0.9, 0.5, 0.5];
        assert_eq!(
            [1, 2, 3, 0].map(|wanted| rank(&scores, wanted)),
            [0, 1, 2, 3]
        );
        // A model that cannot tell candidates apart is no better than chance.
        assert_eq!(
            (0..4)
                .map(|wanted| rank(&[0.0; 4], wanted))
                .filter(|&r| r == 0)
                .count(),
            1
        );
    }

    #[test]
    fn a_rare_class_weighs_as_much_as_a_frequent_one() {
        let metrics = classification(&[7, 7, 7, 2], &[0, 0, 4, 5]);
        assert_eq!(metrics["top1"], 0.5);
        assert_eq!(metrics["top5"], 0.75);
        assert!((metrics["mean_per_class"] - (2.0 / 3.0 + 0.0) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn an_image_is_found_by_any_of_its_captions() {
        let at = |degrees: f32| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
        let images = [at(0.0), at(90.0)];
        // Captions of image 0: far and near; of image 1: nearer to image 0.
        let captions = [at(170.0), at(10.0), at(40.0)];
        let metrics = retrieval(&images, &captions, &[0, 0, 1]);
        assert_eq!(metrics["i2t_r1"], 0.5 + 0.5, "40° is the nearest to 90°");
        assert!(
            (metrics["t2i_r1"] - 1.0 / 3.0).abs() < 1e-12,
            "only the near one of image 0"
        );
        assert_eq!(metrics["t2i_r5"], 1.0);
        let swapped = retrieval(&images, &captions, &[0, 1, 1]);
        assert_eq!(swapped["i2t_r1"], 0.5, "170° is not the nearest to 0°");
    }
}
