//! Runs a template over the fields of an entry.
//!
//! Bounded by the number of parts run, the depth of templates that use each other and the length of
//! the text, so that no template keeps a thread. Errors have Go's text: it names the part of the
//! template that was looked at last.

use crate::Template;
use crate::call::{self, Param, Surroundings, TEXT_BYTES_MAX};
use crate::fields::Fields;
use crate::lex::line_of;
use crate::print::{plain, print, quoted};
use crate::time;
use crate::tree::{Branch, Command, Node, Number, Pipe, Word, WordKind};
use crate::value::{IntType, Value};
use std::cell::OnceCell;

/// Most parts run for one entry.
const PARTS_MAX: usize = 100_000;
/// Most bytes that functions read and make for one entry.
const WORK_BYTES_MAX: usize = 16 * TEXT_BYTES_MAX;
/// Deepest nesting while running, templates that use each other included.
const DEPTH_MAX: usize = 200;

/// Why running ended.
enum Stop {
    Fault(String),
    Break,
    Continue,
}

/// Runs a template; returns its text or the error.
pub(crate) fn run(
    template: &Template,
    fields: &dyn Fields,
    around: Surroundings<'_>,
) -> Result<Vec<u8>, String> {
    let mut runner = Runner {
        template,
        name: template.name,
        fields,
        all: OnceCell::new(),
        around,
        out: Vec::new(),
        variables: vec![("$", None)],
        place: None,
        depth: 0,
        parts: 0,
        work_bytes: 0,
    };
    match runner.nodes(&template.root, &None) {
        Ok(()) | Err(Stop::Break | Stop::Continue) => Ok(runner.out),
        Err(Stop::Fault(text)) => Err(text),
    }
}

/// The part looked at last.
#[derive(Clone, Copy)]
enum Place<'t> {
    Pipe(&'t Pipe),
    Command(&'t Command),
    Word(&'t Word),
}

/// What `.` or a variable holds; `None` is all fields, which are seldom needed as a whole.
type Data = Option<Value>;

struct Runner<'t, 'l> {
    template: &'t Template,
    /// Of the template that is running.
    name: &'t str,
    fields: &'l dyn Fields,
    all: OnceCell<Value>,
    around: Surroundings<'l>,
    out: Vec<u8>,
    variables: Vec<(&'t str, Data)>,
    place: Option<Place<'t>>,
    depth: usize,
    parts: usize,
    work_bytes: usize,
}

impl<'t> Runner<'t, '_> {
    fn fault<T>(&self, reason: impl AsRef<str>) -> Result<T, Stop> {
        let (at, shown) = match self.place {
            None => (0, String::new()),
            Some(Place::Pipe(pipe)) => (pipe.at, pipe.to_string()),
            Some(Place::Command(command)) => (command.at, command.to_string()),
            Some(Place::Word(word)) => (word.at, word.to_string()),
        };
        let text = &self.template.text;
        let before = text.get(..at).unwrap_or_default();
        let column = at - before.rfind('\n').map_or(0, |newline| newline + 1);
        Err(Stop::Fault(format!(
            "template: {}:{}:{column}: executing {} at <{shown}>: {}",
            self.template.name,
            line_of(text, at),
            quoted(self.name.as_bytes()),
            reason.as_ref()
        )))
    }

    fn value_of(&self, data: &Data) -> Value {
        match data {
            Some(value) => value.clone(),
            None => self.all.get_or_init(|| self.fields.all()).clone(),
        }
    }

    fn write(&mut self, text: &[u8]) -> Result<(), Stop> {
        self.out.extend_from_slice(text);
        if self.out.len() > TEXT_BYTES_MAX {
            return self.fault(format!("text is longer than {TEXT_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    fn count_part(&mut self) -> Result<(), Stop> {
        self.parts += 1;
        if self.parts > PARTS_MAX {
            self.fault(format!("more than {PARTS_MAX} parts to run"))
        } else {
            Ok(())
        }
    }

    /// Counts the length of a text as work.
    fn count_work(&mut self, value: &Value) -> Result<(), Stop> {
        if let Value::Text(text) = value {
            self.work_bytes += text.len();
            if text.len() > TEXT_BYTES_MAX {
                return self.fault(format!("text is longer than {TEXT_BYTES_MAX} bytes"));
            }
            if self.work_bytes > WORK_BYTES_MAX {
                return self.fault(format!("more than {WORK_BYTES_MAX} bytes of text to work on"));
            }
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Data) -> Result<(), Stop> {
        if self.depth >= DEPTH_MAX {
            return self.fault(format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        self.depth += 1;
        let result = self.nodes_in_a_row(nodes, dot);
        self.depth -= 1;
        result
    }

    fn nodes_in_a_row(&mut self, nodes: &'t [Node], dot: &Data) -> Result<(), Stop> {
        for node in nodes {
            self.count_part()?;
            match node {
                Node::Text(text) => self.write(text.as_bytes())?,
                Node::Action(pipe) => self.action(pipe, dot)?,
                Node::If(branch) => self.condition(branch, dot, false)?,
                Node::With(branch) => self.condition(branch, dot, true)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Template { name, pipe } => self.use_template(name, pipe.as_ref(), dot)?,
                Node::Break => return Err(Stop::Break),
                Node::Continue => return Err(Stop::Continue),
            }
        }
        Ok(())
    }

    fn action(&mut self, pipe: &'t Pipe, dot: &Data) -> Result<(), Stop> {
        // The most common action prints one field.
        if let ([], [Command { words, .. }], None) = (&*pipe.variables, &*pipe.commands, dot)
            && let [Word { kind: WordKind::Field(names), .. }] = &**words
            && let [name] = &**names
        {
            let fields = self.fields;
            if let Some(text) = fields.text(name) {
                return self.write(text);
            }
        }
        let value = self.pipe(pipe, dot)?;
        if pipe.variables.is_empty() {
            let value = self.value_of(&value);
            self.write(&print(&value))?;
        }
        Ok(())
    }

    fn condition(&mut self, branch: &'t Branch, dot: &Data, rebinds: bool) -> Result<(), Stop> {
        let scope = self.variables.len();
        let arms = branch.more.iter().map(|(pipe, body)| (pipe, body));
        for (pipe, body) in std::iter::once((&branch.pipe, &branch.then)).chain(arms) {
            let value = self.pipe(pipe, dot)?;
            let is_true =
                value.as_ref().is_none_or(Value::is_true) && (value.is_some() || !self.fields_are_empty());
            if is_true {
                self.nodes(body, if rebinds { &value } else { dot })?;
                self.variables.truncate(scope);
                return Ok(());
            }
        }
        self.nodes(&branch.otherwise, dot)?;
        self.variables.truncate(scope);
        Ok(())
    }

    fn fields_are_empty(&self) -> bool {
        !self.value_of(&None).is_true()
    }

    fn range(&mut self, branch: &'t Branch, dot: &Data) -> Result<(), Stop> {
        let scope = self.variables.len();
        let data = self.pipe(&branch.pipe, dot)?;
        let value = self.value_of(&data);
        let items: Vec<(Value, Value)> = match &value {
            Value::List(items) => (0..).map(Value::int).zip(items.iter().cloned()).collect(),
            Value::Map(map) => {
                map.iter().map(|(key, value)| (Value::text(key.as_str()), value.clone())).collect()
            }
            Value::Labels(set) => {
                set.iter().map(|(name, value)| (Value::text(name), Value::text(value))).collect()
            }
            Value::Nil => Vec::new(),
            Value::Int(count, _) if branch.pipe.variables.len() < 2 => {
                let count = usize::try_from(*count).unwrap_or(0).min(PARTS_MAX + 1);
                (0..).take(count).map(|number| (Value::int(number), Value::int(number))).collect()
            }
            other => {
                return self
                    .fault(format!("range can't iterate over {}", String::from_utf8_lossy(&plain(other))));
            }
        };
        if items.is_empty() {
            self.nodes(&branch.otherwise, dot)?;
        }
        for (key, item) in items {
            self.count_part()?;
            // The variables of a range get element and key anew each time.
            let set = match &*branch.pipe.variables {
                [] => vec![],
                [one] => vec![(one, item.clone())],
                [one, two, ..] => vec![(one, key), (two, item.clone())],
            };
            let inner = self.variables.len();
            for (name, value) in set {
                self.set_variable(name, Some(value), branch.pipe.assigns);
            }
            let result = self.nodes(&branch.then, &Some(item));
            self.variables.truncate(inner);
            match result {
                Ok(()) | Err(Stop::Continue) => {}
                Err(Stop::Break) => break,
                Err(fault) => return Err(fault),
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    /// Sets a variable: the innermost one of the name, if it is to exist already.
    fn set_variable(&mut self, name: &'t str, value: Data, exists: bool) {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, known)) if exists => *known = value,
            _ => self.variables.push((name, value)),
        }
    }

    fn use_template(&mut self, name: &'t str, pipe: Option<&'t Pipe>, dot: &Data) -> Result<(), Stop> {
        let template = self.template;
        let Some(body) = template.defined.get(name) else {
            return self.fault(format!("template {} not defined", quoted(name.as_bytes())));
        };
        let inner = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Some(Value::Nil),
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$", inner.clone())]);
        let outer = std::mem::replace(&mut self.name, name);
        self.nodes(body, &inner)?;
        (self.variables, self.name) = (variables, outer);
        Ok(())
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Data) -> Result<Data, Stop> {
        self.count_part()?;
        self.place = Some(Place::Pipe(pipe));
        let mut last: Option<Data> = None;
        for command in &pipe.commands {
            let value = self.command(command, dot, last.take())?;
            last = Some(value);
        }
        let value = last.unwrap_or(Some(Value::Nil));
        // The variables of a range are set by the range.
        for name in &pipe.variables {
            self.set_variable(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    /// Evaluates a command; `last` is the result of the one before, its last argument.
    fn command(&mut self, command: &'t Command, dot: &Data, last: Option<Data>) -> Result<Data, Stop> {
        let Some((first, args)) = command.words.split_first() else { return Ok(Some(Value::Nil)) };
        match &first.kind {
            WordKind::Function(name) => return self.function(name, first, Some(command), args, dot, last),
            WordKind::Field(names) => {
                self.place = Some(Place::Word(first));
                return self.fields(dot.clone(), names, args, dot, last);
            }
            WordKind::Variable(name, names) => {
                self.place = Some(Place::Word(first));
                let value = self.variable(name)?;
                return self.fields(value, names, args, dot, last);
            }
            WordKind::Chain(inner, names) => {
                let value = self.word(inner, dot)?;
                self.place = Some(Place::Word(first));
                return self.fields(value, names, args, dot, last);
            }
            _ => {}
        }
        if let WordKind::Pipe(pipe) = &first.kind {
            self.refuse_arguments(first, args, last.is_some())?;
            return self.pipe(pipe, dot);
        }
        self.place = Some(Place::Word(first));
        self.refuse_arguments(first, args, last.is_some())?;
        self.constant(first, dot)
    }

    fn refuse_arguments(&self, word: &Word, args: &[Word], has_last: bool) -> Result<(), Stop> {
        if args.is_empty() && !has_last {
            return Ok(());
        }
        self.fault(format!("can't give argument to non-function {word}"))
    }

    fn constant(&mut self, word: &'t Word, dot: &Data) -> Result<Data, Stop> {
        match &word.kind {
            WordKind::Dot => Ok(dot.clone()),
            WordKind::Nil => self.fault("nil is not a command"),
            WordKind::Bool(value) => Ok(Some(Value::Bool(*value))),
            WordKind::Number(number) => Ok(Some(ideal(number))),
            WordKind::Text { value, .. } => Ok(Some(Value::text(&**value))),
            _ => Ok(Some(Value::Nil)),
        }
    }

    fn variable(&mut self, name: &str) -> Result<Data, Stop> {
        let found = self.variables.iter().rev().find(|(known, _)| *known == name);
        let data = found.map_or(Some(Value::Nil), |(_, value)| value.clone());
        if let Some(value) = &data {
            self.count_work(value)?;
        }
        Ok(data)
    }

    /// Evaluates a word that may stand for any value.
    fn word(&mut self, word: &'t Word, dot: &Data) -> Result<Data, Stop> {
        self.place = Some(Place::Word(word));
        match &word.kind {
            WordKind::Field(names) => self.fields(dot.clone(), names, &[], dot, None),
            WordKind::Variable(name, names) => {
                let value = self.variable(name)?;
                self.fields(value, names, &[], dot, None)
            }
            WordKind::Chain(inner, names) => {
                let value = self.word(inner, dot)?;
                self.place = Some(Place::Word(word));
                self.fields(value, names, &[], dot, None)
            }
            WordKind::Pipe(pipe) => self.pipe(pipe, dot),
            WordKind::Function(name) => self.function(name, word, None, &[], dot, None),
            WordKind::Nil => Ok(Some(Value::Nil)),
            _ => self.constant(word, dot),
        }
    }

    /// Follows field names; only the last one may be given arguments.
    fn fields(
        &mut self,
        start: Data,
        names: &'t [String],
        args: &'t [Word],
        dot: &Data,
        last: Option<Data>,
    ) -> Result<Data, Stop> {
        let Some((final_name, before)) = names.split_last() else {
            if !args.is_empty() || last.is_some() {
                let shown = match self.place {
                    Some(Place::Word(word)) => word.to_string(),
                    _ => String::new(),
                };
                return self.fault(format!("can't give argument to non-function {shown}"));
            }
            return Ok(start);
        };
        let mut value = start;
        for name in before {
            value = self.field(value, name, &[], dot, None)?;
        }
        self.field(value, final_name, args, dot, last)
    }

    fn field(
        &mut self,
        receiver: Data,
        name: &'t str,
        args: &'t [Word],
        dot: &Data,
        last: Option<Data>,
    ) -> Result<Data, Stop> {
        if let Some(Value::Time(time)) = &receiver {
            let params = time::method_params(name);
            let given = args.len() + usize::from(last.is_some());
            let mut values = Vec::new();
            for (word, param) in args.iter().zip(params) {
                values.push(self.argument(word, *param, dot)?);
            }
            if let (Some(last), Some(param)) = (last, params.last()) {
                let last = self.value_of(&last);
                values.push(self.checked(last, *param)?);
            }
            return match time::method(time, name, &values) {
                Some(_) if given != params.len() => {
                    self.fault(format!("wrong number of args for {name}: want {} got {given}", params.len()))
                }
                Some(value) => Ok(Some(value)),
                None => self.fault(format!("can't evaluate field {name} in type time.Time")),
            };
        }
        let value = match &receiver {
            None => Some(self.fields.field(name)),
            Some(Value::Labels(set)) => Some(Value::text(set.get(name).unwrap_or_default())),
            Some(Value::Map(map)) => Some(map.get(name).cloned().unwrap_or(Value::Nil)),
            Some(Value::Nil) => return self.fault(format!("nil pointer evaluating interface {{}}.{name}")),
            Some(other) => {
                return self.fault(format!("can't evaluate field {name} in type {}", other.type_name()));
            }
        };
        if !args.is_empty() || last.is_some() {
            return self.fault(format!("{name} is not a method but has arguments"));
        }
        Ok(value)
    }

    /// Calls a function; `command` is what an error of the function shows.
    fn function(
        &mut self,
        name: &'t str,
        word: &'t Word,
        command: Option<&'t Command>,
        args: &'t [Word],
        dot: &Data,
        last: Option<Data>,
    ) -> Result<Data, Stop> {
        self.place = Some(Place::Word(word));
        let here = command.map_or(Place::Word(word), Place::Command);
        let given = args.len() + usize::from(last.is_some());
        if name == "and" || name == "or" {
            return self.connective(name, args, dot, last);
        }
        if name == "call" {
            let callee = match (args.first(), last) {
                (Some(word), _) => self.word(word, dot)?,
                (None, Some(last)) => last,
                (None, None) => return self.fault("wrong number of args for call: want at least 1 got 0"),
            };
            let shown = args.first().map(ToString::to_string).unwrap_or_default();
            self.place = Some(here);
            let type_name = self.value_of(&callee).type_name();
            return self.fault(format!("error calling call: non-function {shown} of type {type_name}"));
        }
        let Some(function) = call::find(name, self.template.dialect) else {
            return self.fault(format!("{} is not a defined function", quoted(name.as_bytes())));
        };
        let fixed = function.params.len();
        match function.more {
            Some(_) if given < fixed => {
                return self
                    .fault(format!("wrong number of args for {name}: want at least {fixed} got {given}"));
            }
            None if given != fixed => {
                return self.fault(format!("wrong number of args for {name}: want {fixed} got {given}"));
            }
            _ => {}
        }
        let param =
            |index: usize| function.params.get(index).copied().or(function.more).unwrap_or(Param::Any);
        let mut values = Vec::with_capacity(given);
        for (index, word) in args.iter().enumerate() {
            values.push(self.argument(word, param(index), dot)?);
        }
        if let Some(last) = last {
            let last = self.value_of(&last);
            values.push(self.checked(last, param(args.len()))?);
        }
        for value in &values {
            self.count_work(value)?;
        }
        match (function.call)(&self.around, &values) {
            Ok(value) => {
                self.count_work(&value)?;
                Ok(Some(value))
            }
            Err(reason) => {
                self.place = Some(here);
                self.fault(format!("error calling {name}: {reason}"))
            }
        }
    }

    /// Evaluates `and` and `or`, which stop at the first value that decides.
    fn connective(
        &mut self,
        name: &str,
        args: &'t [Word],
        dot: &Data,
        last: Option<Data>,
    ) -> Result<Data, Stop> {
        if args.is_empty() && last.is_none() {
            return self.fault(format!("wrong number of args for {name}: want at least 1 got 0"));
        }
        let mut result = Some(Value::Nil);
        for word in args {
            result = self.word(word, dot)?;
            if self.value_of(&result).is_true() == (name == "or") {
                return Ok(result);
            }
        }
        Ok(last.unwrap_or(result))
    }

    /// Evaluates an argument for a parameter.
    fn argument(&mut self, word: &'t Word, param: Param, dot: &Data) -> Result<Value, Stop> {
        self.place = Some(Place::Word(word));
        match &word.kind {
            WordKind::Nil if param == Param::Any => return Ok(Value::Nil),
            WordKind::Nil => return self.fault(format!("cannot assign nil to {}", param.type_name())),
            WordKind::Bool(_) | WordKind::Number(_) | WordKind::Text { .. } => {}
            WordKind::Dot => {
                let value = self.value_of(dot);
                return self.checked(value, param);
            }
            _ => {
                let data = self.word(word, dot)?;
                let value = self.value_of(&data);
                return self.checked(value, param);
            }
        }
        match (param, &word.kind) {
            (Param::Any, _) => Ok(self.constant(word, dot)?.unwrap_or(Value::Nil)),
            (Param::Text, WordKind::Text { value, .. }) => Ok(Value::text(&**value)),
            (Param::Int, WordKind::Number(Number { int: Some(int), .. })) => Ok(Value::int(*int)),
            (Param::Float, WordKind::Number(number)) => Ok(Value::Float(number.float)),
            (Param::Text, _) => self.fault(format!("expected string; found {word}")),
            (Param::Int, _) => self.fault(format!("expected integer; found {word}")),
            (Param::Float, _) => self.fault(format!("expected float; found {word}")),
            (Param::Time, _) => self.fault(format!("can't handle {word} for arg of type time.Time")),
        }
    }

    /// Checks that a value fits a parameter.
    fn checked(&self, value: Value, param: Param) -> Result<Value, Stop> {
        match (param, &value) {
            (Param::Any, _)
            | (Param::Text, Value::Text(_))
            | (Param::Int, Value::Int(..))
            | (Param::Float, Value::Float(_))
            | (Param::Time, Value::Time(_)) => Ok(value),
            (_, Value::Nil) => self.fault(format!("invalid value; expected {}", param.type_name())),
            _ => self.fault(format!(
                "wrong type for value; expected {}; got {}",
                param.type_name(),
                value.type_name()
            )),
        }
    }
}

/// The value of a number where any type will do.
fn ideal(number: &Number) -> Value {
    match number.int {
        Some(int) if number.is_char => Value::Int(int, IntType::Rune),
        Some(int) if !number.reads_as_float() => Value::int(int),
        _ => Value::Float(number.float),
    }
}
