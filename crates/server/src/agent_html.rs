//! The status page of an agent: one document without scripts, and without anything from elsewhere.
//!
//! Names of containers and files, labels and reasons come from outside: all text passes through [`Text`].

use crate::agent_face::{AgentPage, AgentTarget};
use std::fmt::{self, Display, Write as _};

const STYLE: &str = "body{font:15px/1.4 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;\
    vertical-align:top;overflow-wrap:anywhere}.bad{color:#a00}code{font-size:13px;color:#555}\
    @media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}th,td{border-color:#333}code{color:#aaa}.bad{color:#f77}}";

/// A text as HTML shows it.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                // No control character is shown, nor anything that turns the direction of text round.
                character if character.is_control() || is_turn(character) => f.write_char('\u{fffd}'),
                character => f.write_char(character),
            }?;
        }
        Ok(())
    }
}

fn is_turn(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the page.
pub(crate) fn status(page: AgentPage) -> String {
    let mut html = String::with_capacity(2_048 + page.targets.len() * 256);
    // Writing to a text cannot fail.
    write(&mut html, &page).unwrap_or_default();
    html
}

fn write(html: &mut String, page: &AgentPage) -> fmt::Result {
    write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Logyard agent</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"10\">\
         <style>{STYLE}</style></head><body><h1>Logyard agent</h1>"
    )?;
    match page.problems.is_empty() {
        true => html.push_str("<p>Ready.</p>"),
        false => {
            html.push_str("<p class=\"bad\">Not ready:</p><ul class=\"bad\">");
            for problem in &page.problems {
                write!(html, "<li>{}</li>", Text(problem))?;
            }
            html.push_str("</ul>");
        }
    }
    write!(html, "<p>Pushes to {}; {} bytes wait in the spool.", Text(&page.pushes_to), page.spool_bytes)?;
    for engine in &page.engines {
        write!(html, "<br>Reads {}.", Text(engine))?;
    }
    html.push_str(
        "</p><p><a href=\"targets\">targets</a> · <a href=\"metrics\">metrics</a> · <a href=\"config\">config</a> · \
         <a href=\"ready\">ready</a></p><table><thead><tr><th>State</th><th>Kind</th><th>Name</th><th>Entries</th>\
         <th>Labels, or why not</th></tr></thead><tbody>",
    );
    for target in &page.targets {
        row(html, target)?;
    }
    html.push_str("</tbody></table></body></html>\n");
    Ok(())
}

fn row(html: &mut String, target: &AgentTarget) -> fmt::Result {
    let AgentTarget { kind, name, state, why, entries, labels } = target;
    let class = if matches!(&**state, "unreadable") { " class=\"bad\"" } else { "" };
    write!(html, "<tr{class}><td>{}</td><td>{}</td><td>{}</td>", Text(state), Text(kind), Text(name))?;
    write!(html, "<td>{entries}</td><td>{}<code>", Text(why))?;
    for (name, value) in labels {
        write!(html, " {}=&quot;{}&quot;", Text(name), Text(value))?;
    }
    html.push_str("</code></td></tr>");
    Ok(())
}
