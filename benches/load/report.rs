//! What a run tells: Markdown with tables, charts beside it.
//!
//! Both go to `target/load`, or to the folder that `LOGYARD_REPORT_FOLDER` names.

use std::path::PathBuf;
use std::time::Duration;

/// Folder of the charts below that of the reports.
const CHARTS: &str = "charts";

/// A report that is being written: its file holds what was added so far, whatever comes after.
#[derive(Debug)]
pub(crate) struct Report {
    folder: PathBuf,
    name: &'static str,
    text: String,
}

impl Report {
    /// Begins a report under a name.
    pub(crate) fn new(name: &'static str) -> Self {
        let named = std::env::var_os("LOGYARD_REPORT_FOLDER").map(PathBuf::from);
        let folder = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/load"));
        std::fs::create_dir_all(folder.join(CHARTS)).unwrap();
        Self { folder, name, text: String::new() }
    }

    /// Tells how far it is, on the terminal only.
    pub(crate) fn say(&self, text: &str) {
        println!("{text}");
    }

    /// Adds a paragraph.
    pub(crate) fn text(&mut self, text: &str) {
        println!("{text}");
        self.text += text;
        self.text.push('\n');
        std::fs::write(self.folder.join(self.name), format!("{}\n", self.text.trim_end())).unwrap();
    }

    /// Adds a table; the first row is its head.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) {
        let mut text = String::new();
        for (number, row) in rows.iter().enumerate() {
            text += &format!("| {} |\n", row.join(" | "));
            if number == 0 {
                text += &format!("|---|{}\n", "---:|".repeat(row.len() - 1));
            }
        }
        self.text(&text);
    }

    /// Writes a chart and adds it.
    pub(crate) fn chart(&mut self, name: &str, svg: &str) {
        std::fs::write(self.folder.join(CHARTS).join(name), svg).unwrap();
        self.text(&format!("![{}]({CHARTS}/{name})\n", name.trim_end_matches(".svg").replace('-', " ")));
    }
}

/// Returns a number of things, short: `950`, `10 k`, `2.5 M`.
pub(crate) fn count(number: u64) -> String {
    let (scaled, unit) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => (number as f64 / 1e3, "k"),
        _ => (number as f64 / 1e6, "M"),
    };
    let digits = if scaled < 10.0 && scaled.fract() >= 0.05 { 1 } else { 0 };
    format!("{scaled:.digits$} {unit}")
}

/// Returns a time in milliseconds, with three digits that count.
pub(crate) fn millis(time: Duration) -> String {
    format!("{} ms", digits(time.as_secs_f64() * 1e3))
}

/// Returns KiB as MiB.
pub(crate) fn mib(kib: u64) -> String {
    format!("{:.0}", kib as f64 / 1024.0)
}

/// Returns a share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Returns a number with about three digits that count.
pub(crate) fn digits(number: f64) -> String {
    let places = match number {
        number if number < 9.995 => 2,
        number if number < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.places$}")
}
