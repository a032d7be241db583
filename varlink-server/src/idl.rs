//! The interface description language: its text parsed into types that a call can be checked against.
//!
//! The grammar is the one of <https://varlink.org/Interface-Definition>, and the same text is what
//! `GetInterfaceDescription` hands out: what is documented is what is checked.

use std::fmt;

/// One parsed interface description.
#[derive(Debug)]
pub struct Idl {
    /// The name after `interface`.
    pub name: &'static str,
    /// The named types; [`Type::Named`] counts into this list.
    pub types: Vec<TypeDef>,
    /// The methods, in the order of the text.
    pub methods: Vec<MethodDef>,
    /// The names of the errors, without the interface.
    pub errors: Vec<&'static str>,
}

/// A `type NAME ...` declaration.
#[derive(Debug)]
pub struct TypeDef {
    /// The name other declarations use.
    pub name: &'static str,
    /// A [`Type::Struct`] or a [`Type::Enum`].
    pub shape: Type,
}

/// A `method NAME(...) -> (...)` declaration.
#[derive(Debug)]
pub struct MethodDef {
    /// The name without the interface.
    pub name: &'static str,
    /// The parameters of a call.
    pub input: Vec<Field>,
    /// The parameters of a reply.
    pub output: Vec<Field>,
}

/// One field of a struct, a call or a reply.
#[derive(Debug)]
pub struct Field {
    /// Its key in the JSON object.
    pub name: &'static str,
    /// Declared with `?`: may be absent or null.
    pub nullable: bool,
    /// What it holds.
    pub shape: Type,
}

/// What a field may hold.
#[derive(Debug)]
pub enum Type {
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `float`
    Float,
    /// `string`
    String,
    /// `object`: any JSON object.
    Object,
    /// `any`: any JSON value.
    Any,
    /// `[]T`
    Array(Box<Type>),
    /// `[string]T`
    Map(Box<Type>),
    /// `(name: T, ...)`
    Struct(Vec<Field>),
    /// `(word, ...)`
    Enum(Vec<&'static str>),
    /// A declared type, by its place in [`Idl::types`].
    Named(usize),
}

/// What is wrong with a description, and in which line.
#[derive(Debug, PartialEq, Eq)]
pub struct IdlError {
    /// Counted from 1.
    pub line: usize,
    /// What the parser wanted to see there.
    pub expected: &'static str,
}

impl fmt::Display for IdlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interface description, line {}: expected {}", self.line, self.expected)
    }
}

impl std::error::Error for IdlError {}

impl Idl {
    /// Parses the text of one interface.
    ///
    /// # Errors
    /// The first line that is not in the grammar, or that uses a type nobody declares.
    pub fn parse(text: &'static str) -> Result<Self, IdlError> {
        let mut parser = Parser { text, rest: text, named: Vec::new() };
        parser.word("interface")?;
        let mut idl =
            Self { name: parser.name()?, types: Vec::new(), methods: Vec::new(), errors: Vec::new() };
        while !parser.peek().is_empty() {
            match parser.take() {
                "type" => {
                    let name = parser.name()?;
                    let shape = parser.fields_or_words()?;
                    idl.types.push(TypeDef { name, shape });
                }
                "method" => {
                    let name = parser.name()?;
                    let input = parser.fields()?;
                    parser.word("->")?;
                    let output = parser.fields()?;
                    idl.methods.push(MethodDef { name, input, output });
                }
                "error" => {
                    idl.errors.push(parser.name()?);
                    parser.fields()?;
                }
                _ => return Err(parser.error("'type', 'method' or 'error'")),
            }
        }
        let places: Option<Vec<usize>> = parser
            .named
            .iter()
            .map(|used| idl.types.iter().position(|declared| declared.name == *used))
            .collect();
        let places = places.ok_or_else(|| parser.error("only declared types"))?;
        let fields = idl.methods.iter_mut().flat_map(|m| m.input.iter_mut().chain(&mut m.output));
        for shape in idl.types.iter_mut().map(|t| &mut t.shape).chain(fields.map(|f| &mut f.shape)) {
            shape.resolve(&places);
        }
        Ok(idl)
    }

    /// The declaration of method `name`.
    pub fn method(&self, name: &str) -> Option<&MethodDef> {
        self.methods.iter().find(|method| method.name == name)
    }
}

impl Type {
    /// Replaces the order of use, which is all the parser can know, by the place of the declaration.
    fn resolve(&mut self, places: &[usize]) {
        match self {
            Self::Named(used) => *used = places.get(*used).copied().unwrap_or(usize::MAX),
            Self::Array(inner) | Self::Map(inner) => inner.resolve(places),
            Self::Struct(fields) => fields.iter_mut().for_each(|field| field.shape.resolve(places)),
            _ => {}
        }
    }
}

struct Parser {
    text: &'static str,
    rest: &'static str,
    /// The type names in the order in which they are used.
    named: Vec<&'static str>,
}

impl Parser {
    fn error(&self, expected: &'static str) -> IdlError {
        let read = self.text.len().saturating_sub(self.rest.len());
        let line = self.text.bytes().take(read).filter(|byte| *byte == b'\n').count() + 1;
        IdlError { line, expected }
    }

    fn peek(&mut self) -> &'static str {
        self.rest = self.rest.trim_start();
        while self.rest.starts_with('#') {
            self.rest = self.rest.split_once('\n').map_or("", |(_, after)| after).trim_start();
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let length = match self.rest.chars().next() {
            None => 0,
            _ if self.rest.starts_with("->") => 2,
            Some(first) if is_word(first) => self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len()),
            Some(first) => first.len_utf8(),
        };
        self.rest.get(..length).unwrap_or_default()
    }

    fn take(&mut self) -> &'static str {
        let token = self.peek();
        self.rest = self.rest.get(token.len()..).unwrap_or_default();
        token
    }

    fn word(&mut self, word: &'static str) -> Result<(), IdlError> {
        if self.peek() != word {
            return Err(self.error(word));
        }
        self.take();
        Ok(())
    }

    fn name(&mut self) -> Result<&'static str, IdlError> {
        if !self.peek().starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(self.error("a name"));
        }
        Ok(self.take())
    }

    fn fields(&mut self) -> Result<Vec<Field>, IdlError> {
        match self.fields_or_words()? {
            Type::Struct(fields) => Ok(fields),
            _ => Err(self.error("fields with types")),
        }
    }

    /// `(a: T, b: T)`, `()` or `(a, b)`.
    fn fields_or_words(&mut self) -> Result<Type, IdlError> {
        let (mut fields, mut words) = (Vec::new(), Vec::new());
        self.word("(")?;
        while self.peek() != ")" {
            if !(fields.is_empty() && words.is_empty()) {
                self.word(",")?;
            }
            let name = self.name()?;
            if self.peek() == ":" {
                self.take();
                let nullable = self.peek() == "?";
                if nullable {
                    self.take();
                }
                fields.push(Field { name, nullable, shape: self.shape()? });
            } else {
                words.push(name);
            }
        }
        self.take();
        match (fields.is_empty(), words.is_empty()) {
            (_, true) => Ok(Type::Struct(fields)),
            (true, false) => Ok(Type::Enum(words)),
            (false, false) => Err(self.error("either fields or words")),
        }
    }

    fn shape(&mut self) -> Result<Type, IdlError> {
        if self.peek() == "(" {
            return self.fields_or_words();
        }
        if self.peek() == "[" {
            self.take();
            let map = self.peek() == "string";
            if map {
                self.take();
            }
            self.word("]")?;
            let inner = Box::new(self.shape()?);
            return Ok(if map { Type::Map(inner) } else { Type::Array(inner) });
        }
        Ok(match self.name()? {
            "bool" => Type::Bool,
            "int" => Type::Int,
            "float" => Type::Float,
            "string" => Type::String,
            "object" => Type::Object,
            "any" => Type::Any,
            name => {
                self.named.push(name);
                Type::Named(self.named.len() - 1)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_the_grammar_is_read() {
        let idl = Idl::parse(
            "# a comment\ninterface a.b-c.d\ntype E(one, two)\ntype S(e: ?E, # why\n m: [string]int)\n\
             method M(s: []S, i: (x: any, y: object), f: float, w: (on, off)) -> (ok: bool)\n\
             method N() -> ()\nerror Bad(why: string)\nerror Worse()",
        )
        .unwrap();
        assert_eq!(idl.name, "a.b-c.d");
        assert_eq!(idl.errors, ["Bad", "Worse"]);
        let input = &idl.method("M").unwrap().input;
        assert!(matches!(&input[0].shape, Type::Array(inner) if matches!(**inner, Type::Named(1))));
        assert!(matches!(&input[1].shape, Type::Struct(fields) if fields.len() == 2));
        assert!(matches!(&input[3].shape, Type::Enum(words) if words == &["on", "off"]));
        assert!(matches!(&idl.types[1].shape, Type::Struct(fields)
            if fields[0].nullable && matches!(fields[0].shape, Type::Named(0))));
        assert!(idl.method("N").unwrap().output.is_empty());
    }

    #[test]
    fn an_error_names_the_line() {
        let cases = [
            ("", 1, "interface"),
            ("interface a.b\nnonsense X()", 2, "'type', 'method' or 'error'"),
            ("interface a.b\n\nmethod M(x: int", 3, ","),
            ("interface a.b\nmethod M() ->", 2, "("),
            ("interface a.b\ntype T(a, b: int)", 2, "either fields or words"),
            ("interface a.b\nmethod M(x: Missing) -> ()", 2, "only declared types"),
            ("interface a.b\nmethod M(x) -> ()", 2, "fields with types"),
        ];
        for (text, line, expected) in cases {
            assert_eq!(Idl::parse(text).unwrap_err(), IdlError { line, expected }, "{text:?}");
        }
    }
}
