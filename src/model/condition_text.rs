//! Conditions as text: see [`Condition`] for the language.

use std::{fmt, str::FromStr};

use crate::model::{
    condition::{Comparison, Condition, Operator, Test},
    error::{Error, Result},
    id::NodeId,
    index::{Field, IndexPart},
    limits,
    time::Timestamp,
    value::{Value, write_quoted},
};

/// The words that name fields of the node's own.
const FIELDS: [(&str, Field); 8] = [
    ("kind", Field::Kind),
    ("created", Field::Created),
    ("updated", Field::Updated),
    ("accessed", Field::Accessed),
    ("access_count", Field::AccessCount),
    ("expires", Field::Expires),
    ("strength", Field::Strength),
    ("confidence", Field::Confidence),
];

/// Words that begin or join conditions.
const WORDS: [&str; 14] = [
    "and", "or", "not", "in", "contains", "starts", "exists", "links", "linked", "alive", "id",
    "true", "false", "null",
];

/// Whether a word is one of the language, in lower or upper case.
fn is_language(word: &str) -> bool {
    WORDS.iter().any(|known| is_same_word(word, known))
}

fn is_same_word(word: &str, known: &str) -> bool {
    word == known || (word.eq_ignore_ascii_case(known) && !word.contains(char::is_lowercase))
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// Whether a name is read as it is, as an attribute.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(is_word_char)
        && !is_language(name)
        && !FIELDS.iter().any(|(word, _)| *word == name)
}

impl fmt::Display for Field {
    /// As a condition in text has it: see [`Condition`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Attribute(path) = self {
            for (at, name) in path.iter().enumerate() {
                f.write_str(if at == 0 { "" } else { "." })?;
                // Within an attribute, a name cannot be another word.
                if is_plain(name) { f.write_str(name)? } else { write_quoted(name, f)? }
            }
            return Ok(());
        }
        let word = FIELDS.iter().find(|(_, field)| field == self).map(|(word, _)| *word);
        f.write_str(word.unwrap_or_default())
    }
}

impl FromStr for Field {
    type Err = Error;

    /// As a condition in text has it: see [`Condition`].
    fn from_str(text: &str) -> Result<Self> {
        let mut parser = Parser { only_field: true, ..Parser::new(text)? };
        let field = parser.field()?;
        parser.end()?;
        Ok(field)
    }
}

impl fmt::Display for Condition {
    /// As it is read. An index range and a default have no text that can be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.test.fmt(f)
    }
}

/// Writes what stands between two, and each in parentheses if it is made of several.
fn write_joined(tests: &[Test], word: &str, none: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if tests.is_empty() {
        return f.write_str(none);
    }
    for (at, test) in tests.iter().enumerate() {
        if at > 0 {
            write!(f, " {word} ")?;
        }
        write_within(test, f)?;
    }
    Ok(())
}

fn write_within(test: &Test, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match test {
        Test::All(tests) | Test::Any(tests) if !tests.is_empty() => write!(f, "({test})"),
        _ => write!(f, "{test}"),
    }
}

fn write_list<T>(
    items: impl IntoIterator<Item = T>,
    f: &mut fmt::Formatter<'_>,
    write: impl Fn(T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    f.write_str("(")?;
    for (at, item) in items.into_iter().enumerate() {
        f.write_str(if at == 0 { "" } else { ", " })?;
        write(item, f)?;
    }
    f.write_str(")")
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(tests) => write_joined(tests, "and", "not kind in ()", f),
            Self::Any(tests) => write_joined(tests, "or", "kind in ()", f),
            Self::Not(test) => {
                f.write_str("not ")?;
                write_within(test, f)
            }
            Self::Kinds(kinds) => {
                f.write_str("kind in ")?;
                write_list(kinds, f, |kind, f| write_quoted(kind, f))
            }
            Self::Ids(ids) => {
                f.write_str("id in ")?;
                write_list(&**ids, f, |id, f| write!(f, "\"{id}\""))
            }
            Self::Field(part, operator) => {
                write!(f, "{}", part.field)?;
                if let Some(default) = &part.default {
                    write!(f, " or {default}")?;
                }
                write_operator(&part.field, operator, f)
            }
            Self::Keys(index, range) => write!(f, "index {index:?} in {range}"),
            Self::AliveAt(time) => write!(f, "alive at {time}"),
            Self::Edge { node, to, kind } => {
                let what = if *to { "links to" } else { "linked from" };
                write!(f, "{what} \"{node}\"")?;
                match kind {
                    Some(kind) => {
                        f.write_str(" by ")?;
                        write_quoted(kind, f)
                    }
                    None => Ok(()),
                }
            }
            Self::TooDeep => f.write_str("a condition that nests too deep"),
        }
    }
}

fn write_operator(field: &Field, operator: &Operator, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let value = |value: &Value, f: &mut fmt::Formatter<'_>| match (field, value) {
        (Field::Created | Field::Updated | Field::Accessed | Field::Expires, Value::Int(at)) => {
            write!(f, "{}", Timestamp::from_micros(*at))
        }
        _ => write!(f, "{value}"),
    };
    match operator {
        Operator::Compare(comparison, with) => {
            f.write_str(match comparison {
                Comparison::Eq => " = ",
                Comparison::Lt => " < ",
                Comparison::Le => " <= ",
                Comparison::Gt => " > ",
                Comparison::Ge => " >= ",
            })?;
            value(with, f)
        }
        Operator::In(members) => {
            f.write_str(" in ")?;
            write_list(members.values(), f, value)
        }
        Operator::Contains(part) => {
            f.write_str(" contains ")?;
            value(part, f)
        }
        Operator::StartsWith(text) => {
            f.write_str(" starts with ")?;
            write_quoted(text, f)
        }
        Operator::Exists => f.write_str(" exists"),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name without quotes, or a word of the language.
    Word(String),
    /// Text in double quotes, which may be a name, or in single ones.
    Text(String, bool),
    Value(Value),
    /// `( ) , . = != < <= > >=`
    Sign(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "{word:?}"),
            Self::Text(text, _) => write_quoted(text, f),
            Self::Value(value) => value.fmt(f),
            Self::Sign(sign) => write!(f, "{sign:?}"),
        }
    }
}

const SIGNS: [&str; 10] = ["!=", "<=", ">=", "(", ")", ",", ".", "=", "<", ">"];

fn error(at: usize, what: impl fmt::Display) -> Error {
    Error::invalid(format!("condition: at character {}: {what}", at.saturating_add(1)))
}

/// The tokens of a text, and at which character each begins.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let at = text.chars().count().saturating_sub(rest.chars().count());
        let token;
        let is_number =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | ':' | '.' | '@');
        (token, rest) = match first {
            '"' | '\'' => {
                let (text, rest) = quoted(rest, first, at)?;
                (Token::Text(text, first == '"'), rest)
            }
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '@') => {
                let end = rest.find(|c| !is_number(c)).unwrap_or(rest.len());
                let (word, rest) = rest.split_at(end);
                let value = literal(word).ok_or_else(|| {
                    error(at, format!("{word:?} is no number, no time and no bytes"))
                })?;
                (Token::Value(value), rest)
            }
            c if c.is_alphabetic() || matches!(c, '_' | '$') => {
                let end = rest.char_indices().find(|(at, c)| *at > 0 && !is_word_char(*c));
                let (word, rest) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
                (Token::Word(word.to_owned()), rest)
            }
            c => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| error(at, format!("unexpected {c:?}")))?;
                (Token::Sign(sign), rest.get(sign.len()..).unwrap_or_default())
            }
        };
        tokens.push((at, token));
        if tokens.len() > 4 * (limits::CONDITION_TERMS + limits::CONDITION_VALUES) {
            return Err(error(at, "it is too long"));
        }
    }
}

/// A number, a time or bytes.
fn literal(word: &str) -> Option<Value> {
    if let Some(digits) = word.strip_prefix("0x") {
        let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        return pairs.iter().map(byte).collect::<Option<Vec<u8>>>().map(Value::Bytes);
    }
    if let Ok(int) = word.parse::<i64>() {
        return Some(Value::Int(int));
    }
    // An integer that does not fit is no float either.
    if word.contains(['.', 'e', 'E'])
        && !word.contains(':')
        && let Ok(float) = word.parse::<f64>()
    {
        return Some(Value::Float(float)).filter(|_| float.is_finite());
    }
    let time = Timestamp::parse(word).or_else(|_| Timestamp::parse(&format!("{word}T00:00:00Z")));
    time.ok().map(Value::from)
}

/// Text in quotes, and what is after it.
fn quoted(text: &str, quote: char, at: usize) -> Result<(String, &str)> {
    let mut found = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        if c == quote {
            let rest = text.get(index.saturating_add(1)..).unwrap_or_default();
            return Ok((found, rest));
        }
        if c != '\\' || quote == '\'' {
            found.push(c);
            continue;
        }
        let hex = |chars: &mut dyn Iterator<Item = (usize, char)>| {
            let digits: String = chars.take(4).map(|(_, c)| c).collect();
            u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)
        };
        let escaped = match chars.next().map(|(_, c)| c) {
            Some(c @ ('"' | '\\' | '/')) => Some(c),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('u') => match hex(&mut chars) {
                // The first of a pair, as JSON has characters beyond 16 bits.
                Some(high @ 0xd800..0xdc00) => {
                    let pair = chars.next().map(|(_, c)| c) == Some('\\')
                        && chars.next().map(|(_, c)| c) == Some('u');
                    let low = hex(&mut chars).filter(|low| pair && (0xdc00..0xe000).contains(low));
                    low.and_then(|low| {
                        let bits = (high & 0x3ff) << 10 | (low & 0x3ff);
                        char::from_u32(bits.saturating_add(0x1_0000))
                    })
                }
                code => code.and_then(char::from_u32),
            },
            _ => None,
        };
        found.push(escaped.ok_or_else(|| error(at, "an unknown escape after a backslash"))?);
    }
    Err(error(at, format!("the text has no closing {quote}")))
}

/// A condition that is being read.
struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<(usize, Token)>>,
    /// The number of characters.
    len: usize,
    /// Open parentheses and `not`.
    depth: usize,
    /// Whether there is nothing but a field, so that no word has another meaning.
    only_field: bool,
}

impl Parser {
    fn new(text: &str) -> Result<Self> {
        let tokens = tokens(text)?.into_iter().peekable();
        Ok(Self { tokens, len: text.chars().count(), depth: 0, only_field: false })
    }

    fn at(&mut self) -> usize {
        self.tokens.peek().map_or(self.len, |(at, _)| *at)
    }

    fn expected<T>(&mut self, what: &str) -> Result<T> {
        let at = self.at();
        let found = self.tokens.peek().map_or("the end".to_owned(), |(_, token)| token.to_string());
        Err(error(at, format!("expected {what}, found {found}")))
    }

    fn take(&mut self, wanted: &Token) -> bool {
        self.tokens.next_if(|(_, token)| token == wanted).is_some()
    }

    fn word(&mut self, known: &str) -> bool {
        let is_known = |(_, token): &(usize, Token)| match token {
            Token::Word(word) => is_same_word(word, known),
            _ => false,
        };
        self.tokens.next_if(is_known).is_some()
    }

    fn sign(&mut self, sign: &'static str) -> bool {
        self.take(&Token::Sign(sign))
    }

    fn end(&mut self) -> Result<()> {
        if self.tokens.peek().is_none() { Ok(()) } else { self.expected("and, or, or the end") }
    }

    fn any(&mut self) -> Result<Condition> {
        let mut condition = self.all()?;
        while self.word("or") {
            condition = condition.or(self.all()?);
        }
        Ok(condition)
    }

    fn all(&mut self) -> Result<Condition> {
        let mut condition = self.one()?;
        while self.word("and") {
            condition = condition.and(self.one()?);
        }
        Ok(condition)
    }

    fn deeper(&mut self, read: fn(&mut Self) -> Result<Condition>) -> Result<Condition> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > limits::CONDITION_DEPTH {
            return Err(Error::limit("levels of a condition", self.depth, limits::CONDITION_DEPTH));
        }
        let condition = read(self)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(condition)
    }

    fn one(&mut self) -> Result<Condition> {
        if self.word("not") {
            return Ok(self.deeper(Self::one)?.not());
        }
        if self.sign("(") {
            let condition = self.deeper(Self::any)?;
            return if self.sign(")") { Ok(condition) } else { self.expected("and, or, or \")\"") };
        }
        if self.word("id") {
            let ids = if self.sign("=") {
                vec![self.id()?]
            } else if self.word("in") {
                self.list(Self::id)?
            } else {
                return self.expected("\"=\" or \"in\" after id");
            };
            return Ok(Condition::ids(ids));
        }
        for (word, then, to) in [("links", "to", true), ("linked", "from", false)] {
            if self.word(word) {
                if !self.word(then) {
                    return self.expected(&format!("{then:?} after {word}"));
                }
                let node = self.id()?;
                let kind = if self.word("by") { Some(self.text()?) } else { None };
                return Ok(Test::Edge { node, to, kind }.into());
            }
        }
        if self.word("alive") {
            if !self.word("at") {
                return self.expected("\"at\" after alive");
            }
            return match self.value()? {
                Value::Int(at) => Ok(Condition::alive_at(Timestamp::from_micros(at))),
                _ => self.expected("a time before this"),
            };
        }
        let field = self.field()?;
        self.operator(field.into())
    }

    fn field(&mut self) -> Result<Field> {
        let mut path = Vec::new();
        let mut quoted = false;
        let any = self.only_field;
        loop {
            let name = self.tokens.next_if(|(_, token)| match token {
                Token::Word(word) => any || !path.is_empty() || !is_language(word),
                Token::Text(_, double) => *double,
                _ => false,
            });
            match name {
                Some((_, Token::Text(text, _))) => {
                    quoted = true;
                    path.push(text);
                }
                Some((_, Token::Word(word))) => path.push(word),
                _ => return self.expected("the name of a field"),
            }
            if !self.sign(".") {
                break;
            }
        }
        if let ([name], false) = (path.as_slice(), quoted) {
            let word = name.strip_prefix('$');
            let own = FIELDS.iter().find(|(known, _)| *known == word.unwrap_or(name));
            match own {
                Some((_, field)) => return Ok(field.clone()),
                None if word.is_some() => {
                    let known = FIELDS.map(|(word, _)| format!("${word}")).join(", ");
                    return Err(Error::invalid(format!(
                        "field {name}: the fields with a dollar sign are {known}"
                    )));
                }
                None => {}
            }
        }
        Ok(Field::Attribute(path))
    }

    fn operator(&mut self, part: IndexPart) -> Result<Condition> {
        let of_kind = part.field == Field::Kind;
        for (sign, comparison) in [
            ("<=", Comparison::Le),
            ("<", Comparison::Lt),
            (">=", Comparison::Ge),
            (">", Comparison::Gt),
        ] {
            if self.sign(sign) {
                let value = self.value()?;
                return Ok(Test::Field(part, Operator::Compare(comparison, value)).into());
            }
        }
        let (equal, different) = (self.sign("="), self.sign("!="));
        if equal || different {
            let condition =
                if of_kind { Condition::kinds([self.text()?]) } else { part.eq(self.value()?) };
            return Ok(if different { condition.not() } else { condition });
        }
        if self.word("in") {
            return if of_kind {
                Ok(Condition::kinds(self.list(Self::text)?))
            } else {
                Ok(part.is_in(self.list(Self::value)?))
            };
        }
        if self.word("contains") {
            return Ok(part.contains(self.value()?));
        }
        if self.word("starts") {
            return if self.word("with") {
                Ok(part.starts_with(self.text()?))
            } else {
                self.expected("\"with\" after starts")
            };
        }
        if self.word("exists") {
            return Ok(part.exists());
        }
        self.expected("=, !=, <, <=, >, >=, in, contains, starts with or exists")
    }

    fn list<T>(&mut self, item: fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        if !self.sign("(") {
            return self.expected("\"(\" after in");
        }
        let mut items = Vec::new();
        while !self.sign(")") {
            if !items.is_empty() && !self.sign(",") {
                return self.expected("\",\" or \")\"");
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn text(&mut self) -> Result<String> {
        match self.tokens.next_if(|(_, token)| matches!(token, Token::Text(..))) {
            Some((_, Token::Text(text, _))) => Ok(text),
            _ => self.expected("text in quotes"),
        }
    }

    fn id(&mut self) -> Result<NodeId> {
        let text = self.text()?;
        Ok(NodeId::parse(&text)
            .ok()
            .filter(|_| text.contains('-'))
            .unwrap_or_else(|| NodeId::from_content(text.as_bytes())))
    }

    fn value(&mut self) -> Result<Value> {
        for (word, value) in
            [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)]
        {
            if self.word(word) {
                return Ok(value);
            }
        }
        match self.tokens.next_if(|(_, token)| matches!(token, Token::Text(..) | Token::Value(_))) {
            Some((_, Token::Text(text, _))) => Ok(Value::Text(text)),
            Some((_, Token::Value(value))) => Ok(value),
            _ => self.expected("a value: text in quotes, a number, a time, true, false or null"),
        }
    }
}

impl FromStr for Condition {
    type Err = Error;

    /// Reads a condition.
    ///
    /// # Errors
    /// `Invalid` with the place and what is expected there, and for what no condition
    /// can ask; `Limit` if it is longer or nests deeper than [`limits`] allow.
    fn from_str(text: &str) -> Result<Self> {
        let mut parser = Parser::new(text)?;
        let condition = parser.any()?;
        parser.end()?;
        condition.check()?;
        Ok(condition)
    }
}
