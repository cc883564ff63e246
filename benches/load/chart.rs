//! Charts as SVG: lines over two axes, and bars in groups. A page of text, and no package for it.
//!
//! Drawn on white, so that they read alike on light and dark pages; names stand beside the ends of the lines.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
/// Room of the plot: left, top, and what is left free on the right, for names, and at the bottom.
const LEFT: f64 = 64.0;
const TOP: f64 = 48.0;
const RIGHT: f64 = 250.0;
const BOTTOM: f64 = 48.0;

/// Height of a text, and the least distance of two names.
const TEXT: f64 = 12.0;
const NAME_GAP: f64 = 16.0;

/// Colours that people tell apart who see some of them alike, each with a mark of its own.
const COLORS: [&str; 9] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#000000", "#8c564b"];
const GREY: &str = "#888888";
const PALE: &str = "#dddddd";

/// Bands behind lines, and how much higher the plot is with them, for their names.
const BAND: &str = "#f0f0f0";
const BAND_ROOM: f64 = 1.5;

/// Bars: height of one, room between groups, and room for the names of groups.
const BAR: f64 = 14.0;
const GROUP_GAP: f64 = 14.0;
const NAMES: f64 = 210.0;

/// Characters of a text are about so wide, as a share of its height.
const CHARACTER: f64 = 0.56;

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    name: String,
    is_log: bool,
}

impl Scale {
    pub(crate) fn log(name: &str) -> Self {
        Self { name: name.to_owned(), is_log: true }
    }

    pub(crate) fn linear(name: &str) -> Self {
        Self { name: name.to_owned(), is_log: false }
    }
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) is_dashed: bool,
}

impl Line {
    pub(crate) fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, is_dashed: false }
    }
}

/// Lines over two axes, with named bands of the first behind them.
#[derive(Clone, Debug)]
pub(crate) struct LineChart {
    pub(crate) title: String,
    /// Across, and up.
    pub(crate) scales: [Scale; 2],
    pub(crate) lines: Vec<Line>,
    /// Begin, end and name.
    pub(crate) phases: Vec<(f64, f64, String)>,
}

/// Bars in groups: each group has one of each kind.
#[derive(Clone, Debug)]
pub(crate) struct BarChart {
    pub(crate) title: String,
    pub(crate) kinds: Vec<String>,
    /// Name, and a bar for each kind.
    pub(crate) groups: Vec<(String, Vec<Bar>)>,
}

/// A bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) length: f64,
    /// Where a mark stands on it.
    pub(crate) mark: f64,
    /// What is written beside it.
    pub(crate) label: String,
}

/// An axis with the span of its values and the pixels where that begins and ends.
struct Axis {
    is_log: bool,
    from: f64,
    to: f64,
    pixels: (f64, f64),
}

impl Axis {
    fn new(scale: &Scale, values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Self {
        let values = values.filter(|value| value.is_finite() && (*value > 0.0 || !scale.is_log));
        let (low, high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        let (from, to) = match scale.is_log {
            // To the next of 1, 2 and 5 times a power of ten, so that each axis has some ticks.
            true => (low * 0.85, if high > low { high * 1.15 } else { high * 2.0 }),
            false => (0.0_f64.min(low), high.max(low + f64::MIN_POSITIVE) * 1.05),
        };
        Self { is_log: scale.is_log, from, to, pixels }
    }

    fn place(&self, value: f64) -> f64 {
        let of = |value: f64| if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let share = (of(value) - of(self.from)) / (of(self.to) - of(self.from));
        self.pixels.0 + share.clamp(0.0, 1.0) * (self.pixels.1 - self.pixels.0)
    }

    /// Returns the values that get a line and a number.
    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let (first, last) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
            let is_within = |value: &f64| (self.from..=self.to).contains(value);
            let powers = (first..=last).map(|power| 10_f64.powi(power));
            let all = powers.flat_map(|power| [power, 2.0 * power, 5.0 * power]).filter(is_within);
            let all: Vec<f64> = all.collect();
            let powers: Vec<f64> = (first..=last).map(|power| 10_f64.powi(power)).filter(is_within).collect();
            return if all.len() > 12 { powers } else { all };
        }
        let rough = (self.to - self.from) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..).map(|number| number as f64 * step).take_while(|value| *value <= self.to).collect()
    }
}

impl LineChart {
    pub(crate) fn svg(&self) -> String {
        let mut out = head(&self.title, HEIGHT);
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let across = Axis::new(&self.scales[0], points().map(|point| point.0), (LEFT, WIDTH - RIGHT));
        let room = if self.phases.is_empty() { 1.0 } else { BAND_ROOM };
        let up = Axis::new(&self.scales[1], points().map(|point| point.1 * room), (HEIGHT - BOTTOM, TOP));
        self.bands(&mut out, &across);
        self.grid(&mut out, &across, &up);
        let mut names = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            let color = if line.is_dashed { GREY } else { COLORS[number % COLORS.len()] };
            let places: Vec<(f64, f64)> =
                line.points.iter().map(|(x, y)| (across.place(*x), up.place(*y))).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let dash = if line.is_dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            writeln!(
                out,
                r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="2"{dash}/>"#,
                path.join(" ")
            )
            .unwrap();
            // Marks tell few points apart, and would hide many.
            if !line.is_dashed && places.len() <= 20 {
                places.iter().for_each(|place| out.push_str(&mark(number, *place, color)));
            }
            names.extend(places.last().map(|end| (*end, line.name.as_str(), color)));
        }
        write_names(&mut out, names);
        out + "</svg>\n"
    }

    fn bands(&self, out: &mut String, across: &Axis) {
        for (from, to, name) in &self.phases {
            let (left, right) = (across.place(*from), across.place(*to));
            let (height, width) = (HEIGHT - BOTTOM - TOP, right - left);
            writeln!(
                out,
                r#"<rect x="{left:.1}" y="{TOP}" width="{width:.1}" height="{height}" fill="{BAND}"/>"#
            )
            .unwrap();
            // Upright, since bands may be narrow.
            let (x, y) = (left + width / 2.0 + TEXT / 3.0, TOP + 8.0);
            writeln!(
                out,
                r##"<text x="{x:.1}" y="{y}" transform="rotate(90 {x:.1} {y})" fill="#777777">{}</text>"##,
                escaped(name)
            )
            .unwrap();
        }
    }

    fn grid(&self, out: &mut String, across: &Axis, up: &Axis) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for value in across.ticks() {
            let x = across.place(value);
            line(out, (x, TOP), (x, bottom), PALE);
            text(out, (x, bottom + 18.0), "middle", "#333333", &short(value));
        }
        for value in up.ticks() {
            let y = up.place(value);
            line(out, (LEFT, y), (right, y), PALE);
            text(out, (LEFT - 8.0, y + 4.0), "end", "#333333", &short(value));
        }
        line(out, (LEFT, bottom), (right, bottom), GREY);
        text(out, ((LEFT + right) / 2.0, HEIGHT - 10.0), "middle", "#333333", &self.scales[0].name);
        text(out, (LEFT - 8.0, TOP - 8.0), "start", "#333333", &self.scales[1].name);
    }
}

/// Writes names beside the ends of lines, moved apart where they would cover each other.
fn write_names(out: &mut String, mut names: Vec<((f64, f64), &str, &str)>) {
    names.sort_by(|a, b| a.0.1.total_cmp(&b.0.1));
    let mut lowest = TOP - NAME_GAP;
    let mut places: Vec<f64> = Vec::new();
    for ((_, y), ..) in &names {
        lowest = y.max(lowest + NAME_GAP);
        places.push(lowest);
    }
    // Back up where they left the plot at the bottom.
    let mut highest = HEIGHT - BOTTOM + NAME_GAP;
    for place in places.iter_mut().rev() {
        highest = place.min(highest - NAME_GAP);
        *place = highest;
    }
    let x = WIDTH - RIGHT + 22.0;
    for ((end, name, color), place) in names.into_iter().zip(places) {
        line(out, (end.0 + 5.0, end.1), (x - 4.0, place), color);
        text(out, (x, place + 4.0), "start", color, name);
    }
}

impl BarChart {
    pub(crate) fn svg(&self) -> String {
        let group = self.kinds.len() as f64 * BAR + GROUP_GAP;
        let top = TOP + 16.0;
        let height = top + self.groups.len() as f64 * group + 8.0;
        let mut out = head(&self.title, height);
        let mut x = NAMES;
        for (number, kind) in self.kinds.iter().enumerate() {
            let color = COLORS[number % COLORS.len()];
            writeln!(out, r#"<rect x="{x:.1}" y="{}" width="10" height="10" fill="{color}"/>"#, TOP - 10.0)
                .unwrap();
            text(&mut out, (x + 15.0, TOP), "start", "#333333", kind);
            x += 32.0 + kind.chars().count() as f64 * TEXT * CHARACTER;
        }
        let longest = self.groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.length).fold(0.0, f64::max);
        let axis = Axis { is_log: false, from: 0.0, to: longest.max(1e-9), pixels: (NAMES, WIDTH - 150.0) };
        for (number, (name, bars)) in self.groups.iter().enumerate() {
            let y = top + number as f64 * group;
            let middle = y + bars.len() as f64 * BAR / 2.0 + 4.0;
            text(&mut out, (NAMES - 10.0, middle), "end", "#333333", name);
            for (kind, Bar { length, mark, label }) in bars.iter().enumerate() {
                let (y, color) = (y + kind as f64 * BAR, COLORS[kind % COLORS.len()]);
                let (end, mark) = (axis.place(*length), axis.place(*mark));
                let (width, inner) = ((end - NAMES).max(1.0), BAR - 2.0);
                writeln!(
                    out,
                    r#"<rect x="{NAMES}" y="{y:.1}" width="{width:.1}" height="{inner}" fill="{color}"/>"#
                )
                .unwrap();
                writeln!(
                    out,
                    r##"<rect x="{:.1}" y="{y:.1}" width="2" height="{inner}" fill="#ffffff"/>"##,
                    (mark - 1.0).max(NAMES)
                )
                .unwrap();
                text(&mut out, (end + 5.0, y + BAR - 3.0), "start", "#333333", label);
            }
        }
        out + "</svg>\n"
    }
}

fn head(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"{TEXT}\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"bold\" fill=\"#111111\">{}</text>\n",
        escaped(title)
    )
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), color: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    writeln!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{color}"/>"#).unwrap();
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, color: &str, words: &str) {
    writeln!(
        out,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{color}">{}</text>"#,
        escaped(words)
    )
    .unwrap();
}

/// Returns a mark on a point: circles, squares and triangles take turns.
fn mark(number: usize, (x, y): (f64, f64), color: &str) -> String {
    match number % 3 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{color}\"/>\n"),
        1 => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\" fill=\"{color}\"/>\n",
            x - 4.0,
            y - 4.0
        ),
        _ => format!(
            "<polygon points=\"{x:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\" fill=\"{color}\"/>\n",
            y - 5.0,
            x - 5.0,
            y + 4.0,
            x + 5.0,
            y + 4.0
        ),
    }
}

/// Returns the number of a tick, short: `0.05`, `20`, `5 k`, `2 M`.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", trimmed(value / 1e6)),
        value if value >= 1e4 => format!("{} k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
