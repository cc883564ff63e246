//! Tokens of a template to its tree, by Go's grammar and with Go's reasons.

use crate::call::{self, Dialect};
use crate::lex::{Fault, Kind, Token, lex, line_of, unquote};
use crate::tree::{Branch, Command, Node, Number, Pipe, Word, WordKind};
use std::collections::HashMap;

/// Deepest nesting of actions and parentheses.
const DEPTH_MAX: usize = 100;

/// A template and those it defines.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: Vec<Node>,
    pub(crate) defined: HashMap<String, Vec<Node>>,
}

/// Parses a template.
pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Parsed, Fault> {
    let tokens = lex(text)?;
    let mut parser = Parser {
        text,
        dialect,
        tokens,
        next: 0,
        variables: vec!["$".to_owned()],
        defined: HashMap::new(),
        loops: 0,
        depth: 0,
    };
    let (root, end) = parser.nodes(true)?;
    match end {
        Stop::End => Ok(Parsed { root, defined: parser.defined }),
        Stop::Else | Stop::ElseIf | Stop::ElseWith => parser.fault("unexpected {{else}}"),
        Stop::Done => parser.fault("unexpected {{end}}"),
    }
}

/// What ended a list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    End,
    Done,
    Else,
    /// `{{else if`, the pipe still to be read.
    ElseIf,
    /// `{{else with`
    ElseWith,
}

struct Parser<'a> {
    text: &'a str,
    dialect: Dialect,
    tokens: Vec<Token>,
    next: usize,
    /// Variables in scope.
    variables: Vec<String>,
    defined: HashMap<String, Vec<Node>>,
    /// How many `range` are open.
    loops: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        self.tokens.get(self.next).map_or(&Kind::End, |token| &token.kind)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |token| token.at)
    }

    fn advance(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, Fault> {
        // A fault shows the line of the token read last.
        let last = self.tokens.get(self.next.saturating_sub(1)).map_or(0, |token| token.at);
        Err(Fault { line: line_of(self.text, last), reason: reason.into() })
    }

    /// Refuses the next token.
    fn unexpected<T>(&mut self, place: &str) -> Result<T, Fault> {
        let token = self.advance();
        match token {
            None => self.fault("unexpected EOF"),
            Some(Token { kind: Kind::End, .. }) => self.fault("unexpected EOF"),
            Some(Token { kind: Kind::Name(name), .. }) if KEYWORDS.contains(&&*name) => {
                self.fault(format!("unexpected <{name}> in {place}"))
            }
            Some(token) => {
                let shown = crate::print::quoted(token.source.as_bytes());
                self.fault(format!("unexpected {shown} in {place}"))
            }
        }
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { self.fault("template nests too deeply") } else { Ok(()) }
    }

    fn close(&mut self, place: &str) -> Result<(), Fault> {
        if *self.peek() != Kind::Close {
            return self.unexpected(place);
        }
        self.next += 1;
        Ok(())
    }

    /// Reads nodes up to what ends them.
    fn nodes(&mut self, top: bool) -> Result<(Vec<Node>, Stop), Fault> {
        let mut nodes = Vec::new();
        loop {
            match self.peek().clone() {
                Kind::End if top => return Ok((nodes, Stop::End)),
                Kind::End => {
                    self.next += 1;
                    return self.fault("unexpected EOF");
                }
                Kind::Text(text) => {
                    self.next += 1;
                    nodes.push(Node::Text(text));
                }
                Kind::Open => {
                    self.next += 1;
                    if let Some(stop) = self.action(&mut nodes, top)? {
                        return Ok((nodes, stop));
                    }
                }
                _ => return self.unexpected("input"),
            }
        }
    }

    fn action(&mut self, nodes: &mut Vec<Node>, top: bool) -> Result<Option<Stop>, Fault> {
        let keyword = match self.peek() {
            Kind::Name(name) => KEYWORDS.iter().find(|keyword| *keyword == name).copied(),
            _ => None,
        };
        let Some(keyword) = keyword else {
            let pipe = self.pipe("command", true)?;
            self.close("command")?;
            nodes.push(Node::Action(pipe));
            return Ok(None);
        };
        self.next += 1;
        match keyword {
            "end" => {
                self.close("end")?;
                return Ok(Some(Stop::Done));
            }
            "else" => return self.otherwise().map(Some),
            "if" => nodes.push(Node::If(self.branch("if")?)),
            "with" => nodes.push(Node::With(self.branch("with")?)),
            "range" => nodes.push(Node::Range(self.branch("range")?)),
            "break" | "continue" => {
                if *self.peek() != Kind::Close {
                    return self.unexpected(&format!("{{{{{keyword}}}}}"));
                }
                if self.loops == 0 {
                    return self.fault(format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
                }
                self.next += 1;
                nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
            }
            "template" => {
                let name = self.template_name("template clause")?;
                let pipe = if *self.peek() == Kind::Close {
                    None
                } else {
                    Some(self.pipe("template clause", true)?)
                };
                self.close("template clause")?;
                nodes.push(Node::Template { name, pipe });
            }
            "block" => {
                let name = self.template_name("block clause")?;
                let pipe = self.pipe("block clause", true)?;
                self.close("block clause")?;
                self.define(&name)?;
                nodes.push(Node::Template { name, pipe: Some(pipe) });
            }
            _ if !top => return self.fault("unexpected {{define}}"),
            _ => {
                let name = self.template_name("define clause")?;
                self.close("define clause")?;
                self.define(&name)?;
            }
        }
        Ok(None)
    }

    /// Reads what follows `else`.
    fn otherwise(&mut self) -> Result<Stop, Fault> {
        let stop = match self.peek() {
            Kind::Name(name) if name == "if" => Stop::ElseIf,
            Kind::Name(name) if name == "with" => Stop::ElseWith,
            _ => {
                self.close("else")?;
                return Ok(Stop::Else);
            }
        };
        self.next += 1;
        Ok(stop)
    }

    fn template_name(&mut self, place: &str) -> Result<String, Fault> {
        let Kind::Quoted(_, name) = self.peek().clone() else { return self.unexpected(place) };
        self.next += 1;
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    /// Reads the body of a template of its own, which sees no variables around it.
    fn define(&mut self, name: &str) -> Result<(), Fault> {
        self.deeper()?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, stop) = self.nodes(false)?;
        if stop != Stop::Done {
            return self.fault(format!("unexpected {{{{else}}}} in definition of {name:?}"));
        }
        (self.variables, self.loops) = (variables, loops);
        self.depth -= 1;
        self.defined.insert(name.to_owned(), body);
        Ok(())
    }

    fn branch(&mut self, keyword: &str) -> Result<Branch, Fault> {
        self.deeper()?;
        let scope = self.variables.len();
        let is_range = keyword == "range";
        let pipe = self.pipe(keyword, true)?;
        self.close(keyword)?;
        self.loops += usize::from(is_range);
        let (then, mut stop) = self.nodes(false)?;
        self.loops -= usize::from(is_range);
        let mut more = Vec::new();
        while matches!((stop, keyword), (Stop::ElseIf, "if") | (Stop::ElseWith, "with")) {
            let pipe = self.pipe(keyword, true)?;
            self.close(keyword)?;
            let (body, next) = self.nodes(false)?;
            more.push((pipe, body));
            stop = next;
        }
        let otherwise = match stop {
            Stop::Done | Stop::End => Vec::new(),
            Stop::ElseIf | Stop::ElseWith => return self.unexpected("else"),
            Stop::Else => {
                let (otherwise, stop) = self.nodes(false)?;
                if stop != Stop::Done {
                    return self.fault("expected end; found {{else}}");
                }
                otherwise
            }
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch { pipe, then, more, otherwise })
    }

    /// Reads commands; stops before what closes them.
    fn pipe(&mut self, place: &str, may_declare: bool) -> Result<Pipe, Fault> {
        let at = self.at();
        let (mut variables, mut assigns) = (Vec::new(), false);
        if may_declare {
            (variables, assigns) = self.declaration(place)?;
        }
        let mut commands: Vec<Command> = Vec::new();
        loop {
            commands.push(self.command(place)?);
            if *self.peek() != Kind::Pipe {
                break;
            }
            self.next += 1;
            if matches!(self.peek(), Kind::Close | Kind::Right) {
                return self.fault(format!("missing value for {place}"));
            }
        }
        for (stage, command) in commands.iter().enumerate().skip(1) {
            if let Some(Word {
                kind:
                    WordKind::Bool(_)
                    | WordKind::Dot
                    | WordKind::Nil
                    | WordKind::Number(_)
                    | WordKind::Text { .. },
                ..
            }) = command.words.first()
            {
                return self.fault(format!("non executable command in pipeline stage {}", stage + 1));
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { at, variables, assigns, commands })
    }

    /// Reads `$a :=`, `$a =` or, in a range, `$a, $b :=`.
    fn declaration(&mut self, place: &str) -> Result<(Vec<String>, bool), Fault> {
        let kinds: Vec<Kind> =
            self.tokens.iter().skip(self.next).take(4).map(|token| token.kind.clone()).collect();
        let (variables, operator) = match &*kinds {
            [Kind::Variable(one), operator @ (Kind::Declare | Kind::Assign), ..] => {
                (vec![one.clone()], operator)
            }
            [
                Kind::Variable(one),
                Kind::Comma,
                Kind::Variable(two),
                operator @ (Kind::Declare | Kind::Assign),
            ] => {
                if place != "range" {
                    return self.fault(format!("too many declarations in {place}"));
                }
                (vec![one.clone(), two.clone()], operator)
            }
            _ => return Ok((Vec::new(), false)),
        };
        self.next += 2 * variables.len();
        let assigns = *operator == Kind::Assign;
        if let Some(unknown) = variables.iter().find(|name| assigns && !self.variables.contains(name)) {
            return self.fault(format!("undefined variable \"{unknown}\""));
        }
        Ok((variables, assigns))
    }

    fn command(&mut self, place: &str) -> Result<Command, Fault> {
        let at = self.at();
        let mut words: Vec<Word> = Vec::new();
        loop {
            match self.peek() {
                Kind::Close | Kind::Right | Kind::Pipe if !words.is_empty() => break,
                Kind::Close | Kind::Right => return self.fault(format!("missing value for {place}")),
                _ => {}
            }
            let spaced = self.tokens.get(self.next).is_some_and(|token| token.spaced);
            if !words.is_empty() && !spaced {
                return self.unexpected("operand");
            }
            words.push(self.operand()?);
        }
        Ok(Command { at, words })
    }

    fn operand(&mut self) -> Result<Word, Fault> {
        let start = self.at();
        let kind = self.term()?;
        let mut names = Vec::new();
        // Go places an operand with fields at the first field behind its first word.
        let at = self.at();
        while let Kind::Field(name) = self.peek() {
            if self.tokens.get(self.next).is_some_and(|token| token.spaced) {
                break;
            }
            names.push(name.clone());
            self.next += 1;
        }
        if names.is_empty() {
            return Ok(Word { at: start, kind });
        }
        let kind = match kind {
            WordKind::Field(mut first) => {
                first.append(&mut names);
                WordKind::Field(first)
            }
            WordKind::Variable(name, mut first) => {
                first.append(&mut names);
                WordKind::Variable(name, first)
            }
            kind @ (WordKind::Bool(_)
            | WordKind::Text { .. }
            | WordKind::Number(_)
            | WordKind::Nil
            | WordKind::Dot) => {
                let shown = Word { at: start, kind }.to_string();
                return self.fault(format!("unexpected . after term {shown:?}"));
            }
            kind => WordKind::Chain(Box::new(Word { at: start, kind }), names),
        };
        Ok(Word { at, kind })
    }

    fn term(&mut self) -> Result<WordKind, Fault> {
        let Some(token) = self.tokens.get(self.next).cloned() else { return self.unexpected("operand") };
        let kind = match token.kind {
            Kind::Name(name) if name == "true" || name == "false" => WordKind::Bool(name == "true"),
            Kind::Name(name) if name == "nil" => WordKind::Nil,
            Kind::Name(name) if KEYWORDS.contains(&&*name) => return self.unexpected("operand"),
            Kind::Name(name) => {
                self.next += 1;
                if !call::is_function(&name, self.dialect) {
                    return self.fault(format!("function \"{name}\" not defined"));
                }
                return Ok(WordKind::Function(name));
            }
            Kind::Dot => WordKind::Dot,
            Kind::Field(name) => WordKind::Field(vec![name]),
            Kind::Variable(name) => {
                self.next += 1;
                if !self.variables.contains(&name) {
                    return self.fault(format!("undefined variable \"{name}\""));
                }
                return Ok(WordKind::Variable(name, Vec::new()));
            }
            Kind::Number(source) => match number(&source) {
                Some(number) => WordKind::Number(number),
                None => {
                    self.next += 1;
                    return self.fault(format!("bad number syntax: {source:?}"));
                }
            },
            Kind::Char(source) => {
                let inner = source.trim_start_matches('\'').strip_suffix('\'').and_then(unquote);
                let text = inner.and_then(|bytes| String::from_utf8(bytes).ok());
                let mut chars = text.iter().flat_map(|text| text.chars());
                match (chars.next(), chars.next()) {
                    (Some(c), None) => {
                        let code = i64::from(u32::from(c));
                        WordKind::Number(Number {
                            source,
                            int: Some(code),
                            float: code as f64,
                            is_char: true,
                        })
                    }
                    _ => {
                        self.next += 1;
                        return self.fault(format!("malformed character constant: {source}"));
                    }
                }
            }
            Kind::Quoted(source, value) => WordKind::Text { source, value },
            Kind::Left => {
                self.next += 1;
                self.deeper()?;
                let pipe = self.pipe("parenthesized pipeline", false)?;
                self.depth -= 1;
                if *self.peek() != Kind::Right {
                    return self.unexpected("parenthesized pipeline");
                }
                WordKind::Pipe(Box::new(pipe))
            }
            _ => return self.unexpected("operand"),
        };
        self.next += 1;
        Ok(kind)
    }
}

const KEYWORDS: [&str; 10] =
    ["if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"];

/// Reads a number as Go's templates do.
fn number(source: &str) -> Option<Number> {
    let (negative, digits) = match source.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, source.strip_prefix('+').unwrap_or(source)),
    };
    let sign = if negative { -1 } else { 1 };
    if let Some(int) = integer(digits) {
        let int = i64::try_from(sign * int).ok();
        return Some(Number { source: source.to_owned(), int, float: int? as f64, is_char: false });
    }
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-_".contains(&byte));
    let float: f64 = digits.replace('_', "").parse().ok().filter(|_| is_plain)?;
    let float = if negative { -float } else { float };
    // A float without a fraction can be an integer, too.
    let int = (float.fract() == 0.0 && float.abs() < 9e18).then_some(float as i64);
    Some(Number { source: source.to_owned(), int, float, is_char: false })
}

/// Reads digits with an optional prefix for the base.
pub(crate) fn integer(digits: &str) -> Option<i128> {
    let lower = digits.to_ascii_lowercase();
    let (radix, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, &*lower),
    };
    if rest.starts_with('+') || rest.starts_with('-') {
        return None;
    }
    i128::from_str_radix(&rest.replace('_', ""), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused() {
        for (text, reason) in [
            ("{{if .x}}", "unexpected EOF"),
            ("{{end}}", "unexpected {{end}}"),
            ("{{else}}", "unexpected {{else}}"),
            ("{{break}}", "{{break}} outside {{range}}"),
            ("{{nope 1}}", "function \"nope\" not defined"),
            ("{{$x}}", "undefined variable \"$x\""),
            ("{{}}", "missing value for command"),
            ("{{.a | }}", "missing value for command"),
            ("{{.a | 5}}", "non executable command in pipeline stage 2"),
            ("{{.a)}}", "unexpected right paren"),
            ("{{1x}}", "bad number syntax: \"1x\""),
            ("{{if .x}}{{else}}{{else}}{{end}}", "expected end; found {{else}}"),
            ("{{1.x}}", "bad number syntax: \"1.x\""),
            ("{{\"a\".x}}", "unexpected . after term \"\\\"a\\\"\""),
            ("{{template .x}}", "unexpected \".x\" in template clause"),
        ] {
            assert_eq!(parse(text, Dialect::Query).unwrap_err().reason, reason, "{text}");
        }
        let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
        assert_eq!(parse(&deep, Dialect::Query).unwrap_err().reason, "template nests too deeply");
    }

    #[test]
    fn parts_print_as_go_prints_them() {
        let check = |text: &str, expect: &str| {
            let parsed = parse(text, Dialect::Query).unwrap();
            let [Node::Action(pipe)] = &*parsed.root else { panic!("{text}") };
            assert_eq!(pipe.to_string(), expect);
        };
        check("{{ index  .path 99|printf `%d` }}", "index .path 99 | printf `%d`");
        check("{{ $x := (len .a.b).c }}", "$x := (len .a.b).c");
    }
}
