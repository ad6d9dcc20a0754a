//! What the fuzz targets see of the configuration.

use super::{Inputs, load, sources::Text};

/// A setting as it was settled.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its path in the file.
    pub path: &'static str,
    /// Its variable in the environment.
    pub variable: String,
    /// Its value as text.
    pub value: String,
}

/// Settles all settings from a file, a `.env` and variables.
///
/// # Errors
/// Everything that is wrong: where, and in full.
pub fn settings(
    file: Option<&str>,
    dotenv: Option<&str>,
    environment: &[(&str, &str)],
) -> Result<Vec<Setting>, Vec<(String, String)>> {
    let named = |name: &str, text: &str| Text { name: name.to_owned(), text: text.to_owned() };
    let inputs = Inputs {
        environment: environment.iter().copied().collect(),
        dotenv: dotenv.map(|text| named(".env", text)),
        file: file.map(|text| named("wellorder.toml", text)),
        ..Inputs::default()
    };
    let config = load(&inputs).map_err(|problems| {
        let shown = problems.0.iter().map(|problem| (problem.place.clone(), problem.to_string()));
        shown.collect::<Vec<_>>()
    })?;
    let settings = config.resolved.into_iter().map(|one| Setting {
        path: one.setting.path,
        variable: one.setting.variable(),
        value: one.value,
    });
    Ok(settings.collect())
}
