//! What to say when the tensors of a file are not those of the model.

use std::collections::BTreeMap;
use std::fmt;

use super::TensorEntry;
use super::state_dict::at;
use crate::{Error, Result};

/// How the tensors of a file differ from the parameters of a module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mismatch {
    /// Parameters that the file lacks.
    pub missing: Vec<String>,
    /// Tensors that the module has no parameter for.
    pub unexpected: Vec<String>,
    /// Name, the parameter's shape, the file's shape.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
}

/// How many of each kind the message names.
const NAMED: usize = 8;

impl Mismatch {
    /// Whether the tensors fit after all.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }

    /// Whether a tensor has a place among the `expected` names and shapes; if not, that is noted. An error if
    /// it has one but holds integers.
    pub(super) fn compare(
        &mut self,
        name: &str,
        tensor: &TensorEntry,
        expected: &BTreeMap<String, Vec<usize>>,
    ) -> Result<bool> {
        match expected.get(name) {
            None => self.unexpected.push(name.to_string()),
            Some(shape) if shape != tensor.shape() => {
                let difference = (name.to_string(), shape.clone(), tensor.shape().to_vec());
                self.misshapen.push(difference);
            }
            Some(_) if !tensor.dtype().is_float() => {
                let what = format!("a parameter cannot hold {} elements", tensor.dtype());
                return Err(at(name, Error::Weights(what)));
            }
            Some(_) => return Ok(true),
        }
        Ok(false)
    }

    /// Nothing, or itself as an error.
    pub(super) fn into_result(self) -> Result<()> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(self.into()),
        }
    }
}

impl std::error::Error for Mismatch {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the weights do not fit the model; use the configuration they were trained with",
        )?;
        list(f, "the file lacks", &self.missing)?;
        list(f, "the model has no place for", &self.unexpected)?;
        let shapes: Vec<String> = self
            .misshapen
            .iter()
            .map(|(name, expected, found)| format!("{name} (model {expected:?}, file {found:?})"))
            .collect();
        list(f, "of another shape:", &shapes)
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, items: &[String]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = items.iter().take(NAMED).map(String::as_str).collect();
    write!(f, "; {what} {}", named.join(", "))?;
    match items.len() - named.len() {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_everything_up_to_a_limit() {
        let mismatch = Mismatch {
            missing: (0..20).map(|i| format!("m{i}")).collect(),
            unexpected: vec!["u".into()],
            misshapen: vec![("s".into(), vec![2, 3], vec![3, 2])],
        };
        assert_eq!(
            mismatch.to_string(),
            "the weights do not fit the model; use the configuration they were trained with; \
             the file lacks m0, m1, m2, m3, m4, m5, m6, m7 and 12 more; \
             the model has no place for u; of another shape: s (model [2, 3], file [3, 2])"
        );
        assert!(!mismatch.is_empty());
        assert!(Mismatch::default().is_empty());
    }
}
