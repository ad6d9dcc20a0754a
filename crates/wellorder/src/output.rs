//! What goes to the terminal: tables, colours, and the guard against control characters in data.
//!
//! Standard output carries the answer and nothing else; everything said about it goes to standard error.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, BufRead, IsTerminal, Write},
};

use crate::{config::Environment, invocation::Invocation};

/// How a text is set off on a terminal that shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Busy,
    Bad,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
        }
    }
}

/// Where a command writes.
pub(crate) struct Output<'a> {
    out: Box<dyn Write + 'a>,
    err: Box<dyn Write + 'a>,
    /// Machines read along: answers are JSON, nothing is said beside them.
    pub(crate) json: bool,
    out_color: bool,
    err_color: bool,
    /// Whether somebody watches standard error, so that progress is worth showing.
    pub(crate) progress: bool,
    /// Where somebody who is asked answers; `None` when nobody is there.
    answers: Option<Box<dyn BufRead + 'a>>,
    /// How commands in hints are to be typed.
    pub(crate) again: Invocation,
}

impl Output<'static> {
    /// The process's own output. Colours on a terminal only, and never with `NO_COLOR` (any value but an empty one)
    /// or `TERM=dumb`.
    pub(crate) fn terminal(json: bool, environment: &Environment) -> Self {
        let no_color = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
        let wanted = !no_color && environment.get("TERM") != Some("dumb");
        let err_is_terminal = io::stderr().is_terminal();
        let somebody = !json && err_is_terminal && io::stdin().is_terminal();
        Self {
            answers: somebody.then(|| Box::new(io::BufReader::new(io::stdin())) as Box<dyn BufRead>),
            out_color: wanted && io::stdout().is_terminal(),
            err_color: wanted && err_is_terminal,
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            json,
            progress: !json && err_is_terminal,
            again: Invocation::of_process(environment),
        }
    }
}

impl<'a> Output<'a> {
    /// An output into `out` and `err`, without colours.
    #[cfg(test)]
    pub(crate) fn to(out: impl Write + 'a, err: impl Write + 'a, json: bool) -> Self {
        let (out, err) = (Box::new(out), Box::new(err));
        let again = Invocation::default();
        Self { out, err, json, out_color: false, err_color: false, progress: false, answers: None, again }
    }

    /// Colours whatever the terminal is.
    #[cfg(test)]
    pub(crate) fn colored(self) -> Self {
        Self { out_color: true, err_color: true, ..self }
    }

    /// A line of the answer.
    ///
    /// # Errors
    /// The reader is gone or the disk is full.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// A line about the answer, on standard error. That nobody reads it is no fault.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }

    /// Somebody who answers this to what is asked.
    #[cfg(test)]
    pub(crate) fn answered_by(&mut self, text: &'a [u8]) {
        self.answers = Some(Box::new(text));
    }

    /// Asks a question; only `y` and `yes` mean yes. `None` when nobody is there to answer.
    pub(crate) fn ask(&mut self, question: &str) -> Option<bool> {
        let answers = self.answers.as_mut()?;
        let _ = write!(self.err, "{} [y/N] ", escape(question)).and_then(|()| self.err.flush());
        let mut answer = String::new();
        let read = answers.read_line(&mut answer).is_ok();
        Some(read && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Progress as a bar, where there is somebody to see it; without a goal it is the text alone.
    pub(crate) fn bar(&mut self, done: u64, of: Option<u64>, text: &str) {
        const WIDTH: u64 = 24;
        let bar = of.filter(|of| *of > 0).map(|of| {
            let done = done.min(of);
            let filled = usize::try_from(u128::from(done) * u128::from(WIDTH) / u128::from(of)).unwrap_or(0);
            let percent = u128::from(done) * 100 / u128::from(of);
            format!("[{:<width$}] {percent:>3} %  ", "#".repeat(filled), width = WIDTH as usize)
        });
        self.progress(&format!("{}{}", bar.unwrap_or_default(), escape(text)));
    }

    /// Overwrites the last line of progress, where there is somebody to see it.
    pub(crate) fn progress(&mut self, text: &str) {
        if self.progress {
            let _ = write!(self.err, "\r\x1b[2K{text}").and_then(|()| self.err.flush());
        }
    }

    /// A JSON answer as it came: no byte is changed but raw control characters, which are written as the escapes
    /// that mean the same.
    ///
    /// # Errors
    /// The reader is gone or the disk is full.
    pub(crate) fn json(&mut self, body: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(body);
        self.line(&escape_json(text.trim_end()))
    }

    /// A script of our own making, as it is.
    ///
    /// # Errors
    /// The reader is gone or the disk is full.
    pub(crate) fn script(&mut self, script: &[u8]) -> io::Result<()> {
        self.out.write_all(script)?;
        self.out.flush()
    }

    /// `text` (escaped) for standard output in this style.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        paint(self.out_color, style, text)
    }

    /// `text` (escaped) for standard error in this style.
    pub(crate) fn paint_note(&self, style: Style, text: &str) -> String {
        paint(self.err_color, style, text)
    }

    /// Names and values, a line each; empty values are left out.
    ///
    /// # Errors
    /// The reader is gone or the disk is full.
    pub(crate) fn fields<const N: usize>(&mut self, fields: [(&str, Cell); N]) -> io::Result<()> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, cell) in fields.iter().filter(|(_, cell)| !cell.text.is_empty()) {
            let name = paint(self.out_color, Style::Dim, &format!("{name:<width$}"));
            writeln!(self.out, "{name}  {}", paint(self.out_color, cell.style, &cell.text))?;
        }
        self.out.flush()
    }

    /// A table: a heading and rows, columns padded, cells escaped.
    ///
    /// # Errors
    /// The reader is gone or the disk is full.
    pub(crate) fn table(&mut self, heading: &[&str], rows: &[Vec<Cell>]) -> io::Result<()> {
        let mut widths: Vec<usize> = heading.iter().map(|name| name.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let heading: Vec<Cell> = heading.iter().map(|name| Cell::new(Style::Bold, name)).collect();
        let color = self.out_color;
        for row in std::iter::once(&heading).chain(rows) {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let last = column + 1 == row.len();
                let padding = if last { 0 } else { width + 2 - cell.text.chars().count() };
                let text = paint(color, cell.style, &cell.text);
                let _ = write!(line, "{text}{:padding$}", "");
            }
            writeln!(self.out, "{}", line.trim_end())?;
        }
        self.out.flush()
    }
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    style: Style,
    text: String,
}

impl Cell {
    pub(crate) fn new(style: Style, text: &str) -> Self {
        Self { style, text: escape(text).into_owned() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(Style::Plain, text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

fn paint(color: bool, style: Style, text: &str) -> String {
    let text = escape(text);
    if color && style != Style::Plain && !text.is_empty() {
        format!("\x1b[{}m{text}\x1b[0m", style.code())
    } else {
        text.into_owned()
    }
}

/// Whether a character could move the cursor, change the terminal, or make text read otherwise than it is: control
/// characters, line and paragraph separators, and what turns the direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with unsafe characters written out (`\u{1b}`), so that order data can do nothing to a terminal.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if is_unsafe(c) => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// JSON text with unsafe characters as JSON escapes. White space between values is left; a raw control character
/// elsewhere can only stand in something that is no JSON.
fn escape_json(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| is_unsafe(c) && !matches!(c, '\n' | '\r' | '\t');
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            // All unsafe characters are below U+10000, so one escape is enough.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn shown(write: impl FnOnce(&mut Output<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Output::to(&mut out, io::sink(), false));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_in_data_reaches_the_terminal_as_a_command() {
        let hostile = "a\x1b[2Jb\u{9b}31mc\x07\x7f\r\nd\u{202e}e\u{2028}f\0";
        let safe = escape(hostile);
        assert!(!safe.chars().any(is_unsafe), "{safe:?}");
        assert_eq!(safe, r"a\u{1b}[2Jb\u{9b}31mc\u{7}\u{7f}\r\nd\u{202e}e\u{2028}f\u{0}");
        assert!(matches!(escape("plain ünïcödé 🫖"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_value_and_its_bytes() {
        let plain = "{\n \"a\": \"tea\\u001b 🫖\",\t\"n\": 1.10}";
        assert_eq!(shown(|out| out.json(plain.as_bytes()).unwrap()), format!("{plain}\n"));
        let hostile = "{\"a\":\"x\u{9b}y\u{7f}\u{202e}\"}";
        let safe = shown(|out| out.json(hostile.as_bytes()).unwrap());
        assert_eq!(safe, "{\"a\":\"x\\u009by\\u007f\\u202e\"}\n");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(hostile), value(&safe));
    }

    #[test]
    fn a_bar_shows_how_far_it_is_to_somebody_who_watches() {
        let mut err = Vec::new();
        let mut output = Output::to(io::sink(), &mut err, false);
        output.bar(1, Some(2), "nobody sees it");
        output.progress = true;
        output.bar(500, Some(1000), "500 redriven");
        output.bar(7, None, "7 orders");
        output.bar(9, Some(0), "x");
        drop(output);
        let clear = "\r\x1b[2K";
        let bar = format!("[{:<24}]  50 %  500 redriven", "#".repeat(12));
        assert_eq!(String::from_utf8(err).unwrap(), format!("{clear}{bar}{clear}7 orders{clear}x"));
    }

    #[test]
    fn tables_line_up_and_escape() {
        let table = shown(|out| {
            let rows = [vec!["1".into(), "short".into()], vec!["22222".into(), "a\nb".into()]];
            out.table(&["ID", "NAME"], &rows).unwrap();
        });
        insta::assert_snapshot!(table, @r"
        ID     NAME
        1      short
        22222  a\nb
        ");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let mut out = Vec::new();
        let output = Output::to(&mut out, io::sink(), false);
        assert_eq!(output.paint(Style::Bad, "parked"), "parked");
        let output = output.colored();
        assert_eq!(output.paint(Style::Bad, "parked\x1b"), "\x1b[31mparked\\u{1b}\x1b[0m");
        assert_eq!(output.paint(Style::Plain, "x"), "x");
    }
}
