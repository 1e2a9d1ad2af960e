//! `--set key=value`.

use anyhow::{Result, bail};

/// Sets one dotted key of the table.
pub fn apply(table: &mut toml::Table, change: &str) -> Result<()> {
    let Some((key, value)) = change.split_once('=') else {
        bail!("--set {change}: expected key=value, for example optimizer.learning_rate=1e-3");
    };
    let value: toml::Value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        // What is not a TOML value is a string without its quotes.
        .unwrap_or_else(|| toml::Value::String(value.to_string()));
    let mut keys: Vec<&str> = key.trim().split('.').collect();
    let Some(last) = keys.pop() else {
        bail!("--set {change}: the key is empty")
    };
    let mut at = table;
    for key in keys {
        let entry = at
            .entry(key)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = match entry.as_table_mut() {
            Some(table) => table,
            None => bail!("--set {change}: `{key}` is not a table"),
        };
    }
    at.insert(last.to_string(), value);
    Ok(())
}
