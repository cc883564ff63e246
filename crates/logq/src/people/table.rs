//! Tables for people: columns aligned, the last one as it comes.

use std::io::{self, Write};

use crate::output_text::{Look, shown};

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const RESET: &str = "\u{1b}[0m";

/// Which side of a column its cells stand at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// One row: its cells, and whether it is about something bad.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) is_bad: bool,
}

/// Writes a table under its head. On a terminal control characters of cells are shown, not obeyed.
pub(crate) fn write_table(
    out: &mut dyn Write,
    head: &[(&str, Side)],
    rows: &[Row],
    look: &Look,
) -> io::Result<()> {
    // Line ends would break the table, wherever it goes.
    let clean = |cell: &str| {
        let cell = cell.replace(['\n', '\r'], " ");
        if look.terminal { shown(&cell) } else { cell }
    };
    let rows: Vec<(Vec<String>, bool)> =
        rows.iter().map(|row| (row.cells.iter().map(|cell| clean(cell)).collect(), row.is_bad)).collect();
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(index, (name, _))| {
            let cells = rows.iter().filter_map(|(cells, _)| cells.get(index));
            cells.map(|cell| cell.chars().count()).chain([name.chars().count()]).max().unwrap_or_default()
        })
        .collect();
    let line = |cells: &[&str]| {
        let mut text = String::new();
        for (index, ((cell, width), (_, side))) in cells.iter().zip(&widths).zip(head).enumerate() {
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            if index > 0 {
                text.push_str("  ");
            }
            match side {
                Side::Right => text.extend([&*blanks, cell]),
                Side::Left => text.extend([cell, &*blanks]),
            }
        }
        text.truncate(text.trim_end().len());
        text
    };
    let styled = |style: &str, text: &str| match look.colour {
        true => format!("{style}{text}{RESET}"),
        false => text.to_owned(),
    };
    let names: Vec<&str> = head.iter().map(|(name, _)| *name).collect();
    writeln!(out, "{}", styled(BOLD, &line(&names)))?;
    for (cells, is_bad) in &rows {
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        match is_bad {
            true => writeln!(out, "{}", styled(RED, &line(&cells)))?,
            false => writeln!(out, "{}", line(&cells))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_tame() {
        let row =
            |cells: &[&str], is_bad| Row { cells: cells.iter().map(ToString::to_string).collect(), is_bad };
        let rows = [row(&["shop-web", "7", "x\ny"], true), row(&["ä", "1200", "\u{1b}]0;t\u{7}"], false)];
        let table = |colour, terminal| {
            let mut out = Vec::new();
            let head = [("NAME", Side::Left), ("COUNT", Side::Right), ("LAST", Side::Left)];
            write_table(&mut out, &head, &rows, &Look { colour, terminal, ..Look::plain() }).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            table(false, true),
            "NAME      COUNT  LAST\nshop-web      7  x y\nä          1200  \\x1b]0;t\\x07\n"
        );
        assert!(table(true, true).contains("\u{1b}[31mshop-web      7  x y\u{1b}[0m\n"));
    }
}
