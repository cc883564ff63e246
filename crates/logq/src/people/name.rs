//! A container by a part of its name: `logq web`.
//!
//! A text that is no LogQL and looks like a name stands for all entries of what bears it. Asked are the values of
//! [`LABELS`], one label after the other; the first label with a value that holds the text gives the selector. A value
//! that is the text, but for upper and lower case, counts alone.

use logyard_client::Client;
use logyard_model::TimeRange;

use crate::check::check;
use crate::run::Stop;
use crate::session::Session;

/// Labels whose values are names people know, in the order in which they are asked for.
pub(crate) const LABELS: [&str; 7] =
    ["container", "compose_service", "unit", "app", "service_name", "job", "filename"];

/// Most names that are told in words.
const TOLD_MAX: usize = 8;

/// Returns whether a text may be a name: it is no query, and only of characters that names have.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "-_./@".contains(c);
    !text.is_empty() && text.chars().all(fits) && check(text).is_err()
}

/// Returns the selector of what bears a name like this; tells on the error output what that is. None: nothing does.
pub(crate) async fn selector(text: &str, session: &mut Session<'_>) -> Result<Option<String>, Stop> {
    let (client, range) = (session.client()?, session.range()?);
    let Some((label, names)) = find(text, &client, range).await? else {
        session.tell(format_args!(
            "nothing that wrote since then has {text:?} in its name; logq alone lists what there is, --since looks \
             further back"
        ))?;
        return Ok(None);
    };
    let told: Vec<&str> = names.iter().take(TOLD_MAX).map(String::as_str).collect();
    let more = match names.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    if names.len() > 1 || *told != [text] {
        session.remark(format_args!("{label}: {}{more}", told.join(", ")))?;
    }
    Ok(Some(selector_of(&label, &names)))
}

/// Returns the first label that has such values, and these.
async fn find(text: &str, client: &Client, range: TimeRange) -> Result<Option<(String, Vec<String>)>, Stop> {
    for label in LABELS {
        let values = client.label_values(label, range).await?;
        let names = matching(text, &values);
        if !names.is_empty() {
            return Ok(Some((label.to_owned(), names)));
        }
    }
    Ok(None)
}

/// Returns the values that are meant by a text.
fn matching(text: &str, values: &[String]) -> Vec<String> {
    let wanted = text.to_lowercase();
    let all = |fits: &dyn Fn(&str) -> bool| -> Vec<String> {
        values.iter().filter(|value| fits(&value.to_lowercase())).cloned().collect()
    };
    let exact = all(&|value| value == wanted);
    if exact.is_empty() { all(&|value| value.contains(&wanted)) } else { exact }
}

/// Writes the selector of some values of a label.
pub(crate) fn selector_of(label: &str, values: &[String]) -> String {
    match values {
        [value] => format!("{{{label}={}}}", quoted(value)),
        values => {
            let all: Vec<String> = values.iter().map(|value| escaped(value)).collect();
            format!("{{{label}=~{}}}", quoted(&all.join("|")))
        }
    }
}

/// Writes a text as LogQL quotes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes a text so that a regular expression means it as it stands.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_queries() {
        for name in ["web", "shop-web", "nginx-proxy.service", "errors", "a/b@1"] {
            assert!(is_name(name), "{name}");
        }
        for other in ["", "{a=\"b\"}", "rate({a=\"b\"}[5m])", "7", "1.5", "two words", "x=y", "{"] {
            assert!(!is_name(other), "{other}");
        }
    }

    #[test]
    fn the_exact_one_counts_alone() {
        let values = ["web", "shop-web", "WebHook", "db"].map(str::to_owned);
        assert_eq!(matching("web", &values), ["web"]);
        assert_eq!(matching("WEB", &values), ["web"]);
        assert_eq!(matching("we", &values), ["web", "shop-web", "WebHook"]);
        assert!(matching("x", &values).is_empty());
    }

    #[test]
    fn selectors_mean_the_names_as_they_stand() {
        let selector = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            selector_of("container", &values)
        };
        assert_eq!(selector(&["a\"b"]), r#"{container="a\"b"}"#);
        assert_eq!(selector(&["a.b", "c+"]), r#"{container=~"a\\.b|c\\+"}"#);
        for values in [&["a\"b\\"][..], &["a.b", "c(+"]] {
            check(&selector(values)).unwrap();
        }
    }
}
