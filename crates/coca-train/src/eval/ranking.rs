//! Metrics of ranked candidates: classification and retrieval.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Metrics;
use crate::parallel::side_by_side;

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

/// Recall at 1, 5 and 10 and the mean and median rank in both directions: `i2t_*` goes by the first of an image's
/// captions, `t2i_*` counts every caption. Ranks begin with 1; a median between two ranks is the lower one, as
/// open_clip has it.
///
/// `images` and `captions` are unit vectors; `image_of` is the image of each caption.
///
/// # Errors
/// A thread panicked.
pub fn retrieval(
    images: &[Vec<f32>],
    captions: &[Vec<f32>],
    image_of: &[usize],
    threads: usize,
) -> Result<Metrics> {
    let own: Vec<f32> = captions
        .iter()
        .zip(image_of)
        .map(|(caption, &image)| {
            images
                .get(image)
                .map_or(f32::NAN, |image| dot(image, caption))
        })
        .collect();
    let mut captions_of = vec![Vec::new(); images.len()];
    for (caption, &image) in image_of.iter().enumerate() {
        if let Some(captions) = captions_of.get_mut(image) {
            captions.push(caption);
        }
    }
    // Each thread compares its images with all captions: the ranks of the images' captions, and for every caption how
    // many of these images are ahead of its own.
    let numbers: Vec<usize> = (0..images.len()).collect();
    let share = images.len().div_ceil(threads.max(1)).max(1);
    let parts = side_by_side(numbers.chunks(share).collect(), |part| {
        let mut ranks = Vec::with_capacity(part.len());
        let mut ahead = vec![0usize; captions.len()];
        for &image in part {
            let scores: Vec<f32> = captions
                .iter()
                .map(|caption| dot(&images[image], caption))
                .collect();
            let best = captions_of[image]
                .iter()
                .map(|&own| rank(&scores, own))
                .min();
            ranks.push(best.unwrap_or(usize::MAX));
            let each = ahead.iter_mut().zip(&scores).zip(own.iter().zip(image_of));
            for ((ahead, &score), (&own, &right)) in each {
                *ahead += usize::from(score > own || (score == own && image < right));
            }
        }
        Ok((ranks, ahead))
    })?;
    let mut i2t = Vec::with_capacity(images.len());
    let mut t2i = vec![0usize; captions.len()];
    for (ranks, ahead) in parts {
        i2t.extend(ranks);
        t2i.iter_mut()
            .zip(ahead)
            .for_each(|(sum, part)| *sum += part);
    }
    Ok(Metrics::from([
        ("i2t_r1", within(&i2t, 1)),
        ("i2t_r5", within(&i2t, 5)),
        ("i2t_r10", within(&i2t, 10)),
        ("i2t_mean_rank", mean_rank(&i2t)),
        ("i2t_median_rank", median_rank(&i2t)),
        ("t2i_r1", within(&t2i, 1)),
        ("t2i_r5", within(&t2i, 5)),
        ("t2i_r10", within(&t2i, 10)),
        ("t2i_mean_rank", mean_rank(&t2i)),
        ("t2i_median_rank", median_rank(&t2i)),
    ]))
}

/// The share of ranks among the first `k`.
fn within(ranks: &[usize], k: usize) -> f64 {
    ranks.iter().filter(|&&rank| rank < k).count() as f64 / ranks.len().max(1) as f64
}

fn mean_rank(ranks: &[usize]) -> f64 {
    1.0 + ranks.iter().map(|&rank| rank as f64).sum::<f64>() / ranks.len().max(1) as f64
}

fn median_rank(ranks: &[usize]) -> f64 {
    let mut ranks = ranks.to_vec();
    ranks.sort_unstable();
    let at = |place: usize| ranks.get(place).copied().unwrap_or(0);
    let twice = at(ranks.len() / 2) + at(ranks.len().saturating_sub(1) / 2);
    (twice / 2 + 1) as f64
}

/// The inner product, summed in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Several sums at a time, so that the compiler can use wide registers.
    const LANES: usize = 8;
    let mut sums = [0f64; LANES];
    let (whole, rest) = a.as_chunks::<LANES>();
    let (others, other_rest) = b.as_chunks::<LANES>();
    for (x, y) in whole.iter().zip(others) {
        for lane in 0..LANES {
            sums[lane] += f64::from(x[lane]) * f64::from(y[lane]);
        }
    }
    let rest = rest.iter().zip(other_rest);
    let rest: f64 = rest.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    (sums.iter().sum::<f64>() + rest) as f32
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

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
        let metrics = retrieval(&images, &captions, &[0, 0, 1], 1).unwrap();
        assert_eq!(metrics["i2t_r1"], 0.5 + 0.5, "40° is the nearest to 90°");
        assert!(
            (metrics["t2i_r1"] - 1.0 / 3.0).abs() < 1e-12,
            "only the near one of image 0"
        );
        assert_eq!(metrics["t2i_r5"], 1.0);
        let swapped = retrieval(&images, &captions, &[0, 1, 1], 2).unwrap();
        assert_eq!(swapped["i2t_r1"], 0.5, "170° is not the nearest to 0°");
    }

    #[test]
    fn equal_images_come_in_their_order() {
        let same = vec![vec![1.0, 0.0]; 4];
        let metrics = retrieval(&same, &same, &[0, 1, 2, 3], 3).unwrap();
        assert_eq!((metrics["i2t_r1"], metrics["t2i_r1"]), (0.25, 0.25));
        assert_eq!(
            (metrics["i2t_mean_rank"], metrics["t2i_mean_rank"]),
            (2.5, 2.5)
        );
        assert_eq!(metrics["i2t_median_rank"], 2.0);
    }

    #[derive(Deserialize)]
    struct Fixture {
        classes: Vec<usize>,
        scores: Vec<Vec<f32>>,
        classification: BTreeMap<String, f64>,
        images: Vec<Vec<f32>>,
        texts: Vec<Vec<f32>>,
        retrieval: BTreeMap<String, f64>,
    }

    /// Numbers of scikit-learn and open_clip; see tests/python/make_eval_metrics.py.
    #[test]
    fn metrics_are_those_of_scikit_learn_and_open_clip() {
        let text = include_str!("../../../../tests/golden/data/ranking.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        let each = fixture.scores.iter().zip(&fixture.classes);
        let ranks: Vec<usize> = each.map(|(scores, &class)| rank(scores, class)).collect();
        let found = classification(&fixture.classes, &ranks);
        let close = |found: &Metrics, expected: &BTreeMap<String, f64>| {
            assert_eq!(found.len(), expected.len());
            for (name, expected) in expected {
                assert!((found[name.as_str()] - expected).abs() < 1e-12, "{name}");
            }
        };
        close(&found, &fixture.classification);
        let pairs: Vec<usize> = (0..fixture.images.len()).collect();
        let found = retrieval(&fixture.images, &fixture.texts, &pairs, 3).unwrap();
        close(&found, &fixture.retrieval);
    }
}
