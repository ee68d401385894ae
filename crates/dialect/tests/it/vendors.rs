//! The tables of vendors and of dialect pairs.

use std::collections::HashSet;

use tidegate_dialect::{Auth, Dialect, TRANSLATIONS, VENDORS, can_relay, vendor};

#[test]
fn dialect_names_read_back() {
    for dialect in Dialect::ALL {
        assert_eq!(dialect.as_str().parse(), Ok(dialect));
        assert_eq!(dialect.to_string(), dialect.as_str());
        let json = serde_json::to_string(&dialect).unwrap();
        assert_eq!(json, format!("\"{dialect}\""));
        assert_eq!(serde_json::from_str::<Dialect>(&json).unwrap(), dialect);
    }
    let unknown = "OpenAI".parse::<Dialect>().unwrap_err();
    assert_eq!(unknown.to_string(), "unknown dialect 'OpenAI': expected openai or anthropic");
}

#[test]
fn each_dialect_relays_to_itself_only() {
    for from in Dialect::ALL {
        for to in Dialect::ALL {
            assert_eq!(can_relay(from, to), from == to);
        }
    }
    assert_eq!(TRANSLATIONS.len(), Dialect::ALL.len());
}

#[test]
fn vendors_are_found_by_their_name_alone() {
    for row in VENDORS {
        assert_eq!(vendor(row.name), Some(row));
    }
    assert_eq!(vendor("OpenAI"), None);
    assert_eq!(vendor(""), None);
}

#[test]
fn names_and_key_variables_are_unique() {
    let names: HashSet<_> = VENDORS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), VENDORS.len());
    // A key that is found in the environment must mean one vendor.
    let hosted = VENDORS.iter().filter(|row| !row.is_local());
    let variables: HashSet<_> = hosted.clone().map(|row| row.key_variable).collect();
    assert_eq!(variables.len(), hosted.count());
}

#[test]
fn hosted_vendors_use_tls_and_a_key_and_local_ones_neither() {
    for row in VENDORS {
        if row.is_local() {
            assert!(row.base_url.starts_with("http://127.0.0.1:"), "{}", row.name);
        } else {
            assert!(row.base_url.starts_with("https://"), "{}", row.name);
            assert!(row.key_variable.ends_with("_API_KEY"), "{}", row.name);
        }
        assert!(!row.base_url.ends_with('/'), "{}", row.name);
    }
}

#[test]
fn anthropic_takes_its_key_in_its_own_field() {
    for row in VENDORS {
        let expected = match row.dialect {
            Dialect::OpenAi => Auth::Bearer,
            Dialect::Anthropic => Auth::XApiKey,
        };
        assert_eq!(row.auth, expected, "{}", row.name);
    }
}

#[test]
fn vendor_rows_are_as_documented() {
    let rows: Vec<_> = VENDORS
        .iter()
        .map(|row| {
            format!(
                "{:<12} {:<10} {:<22} {}",
                row.name,
                row.dialect.as_str(),
                row.key_variable,
                row.base_url
            )
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"));
}
