//! Which model names belong to which vendor, for configurations made from keys alone.

use crate::model::{Model, ModelBalance, Target};

/// Vendors and the names of their own models, in the form of [`Model::name`]. Vendors that host the
/// models of others have no row: they serve whatever no row claims.
const FAMILIES: [(&[&str], &[&str]); 9] = [
    (
        &["openai"],
        &[
            "gpt-*",
            "chatgpt-*",
            "o1*",
            "o3*",
            "o4*",
            "codex-*",
            "text-embedding-*",
            "omni-moderation-*",
            "dall-e-*",
            "tts-*",
            "whisper-*",
        ],
    ),
    (&["anthropic"], &["claude-*"]),
    (&["xai"], &["grok-*"]),
    (&["deepseek"], &["deepseek-chat", "deepseek-reasoner"]),
    (
        &["mistral"],
        &["mistral-*", "ministral-*", "codestral-*", "magistral-*", "devstral-*", "pixtral-*"],
    ),
    (&["moonshot"], &["kimi-*", "moonshot-*"]),
    (&["zai", "zhipu"], &["glm-*"]),
    (&["dashscope"], &["qwen*"]),
    (&["perplexity"], &["sonar*"]),
];

/// A model entry for each name that belongs to one of `present`, which are providers named as their
/// vendors.
pub(crate) fn family_models(present: &[&str]) -> Vec<Model> {
    let mut models = Vec::new();
    for (vendors, names) in FAMILIES {
        let to: Vec<Target> = vendors
            .iter()
            .filter(|vendor| present.contains(vendor))
            .map(|vendor| Target::provider(*vendor))
            .collect();
        if to.is_empty() {
            continue;
        }
        models.extend(names.iter().map(|name| Model {
            name: (*name).to_owned(),
            to: to.clone(),
            balance: ModelBalance::default(),
        }));
    }
    models
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_has_one_row_and_each_vendor_is_of_the_table() {
        let mut seen = BTreeSet::new();
        for (vendors, names) in FAMILIES {
            for vendor in vendors {
                assert!(tidegate_dialect::vendor(vendor).is_some(), "{vendor}");
            }
            for name in names {
                assert!(seen.insert(*name), "{name} has two rows");
            }
        }
    }
}
