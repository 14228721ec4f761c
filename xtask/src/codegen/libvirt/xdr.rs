//! The interface language of libvirt's protocol files: tokens, declarations, annotations. Only what those files use.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// One file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Constants; the value may name another constant.
    pub constants: Vec<(String, String)>,
    /// `typedef`: a name and what it stands for.
    pub types: Vec<Member>,
    /// Structures in their order.
    pub structs: Vec<Structure>,
    /// Unions: name and members by the name of their tag.
    pub unions: Vec<(String, Vec<(String, Member)>)>,
    /// Enumerations.
    pub enums: Vec<Enumeration>,
}

/// A structure.
#[derive(Debug)]
pub(super) struct Structure {
    /// Its name.
    pub name: String,
    /// Its members.
    pub members: Vec<Member>,
}

/// An enumeration.
#[derive(Debug)]
pub(super) struct Enumeration {
    /// Its name.
    pub name: String,
    /// Constants: name, value, annotations of the comment before it.
    pub constants: Vec<(String, i64, Annotations)>,
}

/// `@word: value` lines of a comment.
pub(super) type Annotations = BTreeMap<String, Vec<String>>;

/// A member of a structure or a type definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Type as written, words joined by a blank.
    pub of: String,
    /// Its name.
    pub name: String,
    /// How many.
    pub many: Many,
}

/// How many of a type a member holds. Bounds may name a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Many {
    /// One.
    One,
    /// None or one: `*name`.
    Optional,
    /// So many: `name[n]`.
    Fixed(String),
    /// At most so many: `name<n>`.
    UpTo(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(char),
    Comment(String),
}

/// Reads a file.
///
/// # Errors
/// With the place when the text is not what these files look like.
pub(super) fn parse(text: &str) -> Result<File> {
    let tokens = lex(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let mut file = File::default();
    while let Some(word) = parser.next_word_or_end()? {
        match word.as_str() {
            "const" => {
                let name = parser.word()?;
                parser.sign('=')?;
                file.constants.push((name, parser.word()?));
            }
            "typedef" => {
                let member = parser.member()?;
                file.types.push(member);
            }
            "struct" => {
                let name = parser.word()?;
                let members = parser.members().with_context(|| format!("in struct {name}"))?;
                file.structs.push(Structure { name, members });
            }
            "union" => {
                let name = parser.word()?;
                let union = parser.union().with_context(|| format!("in union {name}"))?;
                file.unions.push((name, union));
            }
            "enum" => {
                let name = parser.word()?;
                let constants = parser.enumeration().with_context(|| format!("in enum {name}"))?;
                file.enums.push(Enumeration { name, constants });
            }
            other => bail!("`{other}` begins no declaration"),
        }
        parser.sign(';')?;
    }
    Ok(file)
}

fn lex(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        if let Some(comment) = rest.strip_prefix("/*") {
            let (inside, after) = comment.split_once("*/").context("a comment without an end")?;
            tokens.push(Token::Comment(inside.to_owned()));
            rest = after;
        } else if first == '%' {
            // A line for the C compiler.
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if first.is_ascii_alphanumeric() || first == '_' || first == '-' {
            let end = rest[1..]
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .map_or(rest.len(), |n| n + 1);
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            tokens.push(Token::Sign(first));
            rest = &rest[first.len_utf8()..];
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<&Token> {
        let token = self.tokens.get(self.at);
        self.at += 1;
        token
    }

    /// The next token that is no comment.
    fn solid(&mut self) -> Option<Token> {
        while let Some(token) = self.next() {
            if !matches!(token, Token::Comment(_)) {
                return Some(token.clone());
            }
        }
        None
    }

    fn next_word_or_end(&mut self) -> Result<Option<String>> {
        match self.solid() {
            None => Ok(None),
            Some(Token::Word(word)) => Ok(Some(word)),
            Some(other) => bail!("{other:?} where a declaration begins"),
        }
    }

    fn word(&mut self) -> Result<String> {
        match self.solid() {
            Some(Token::Word(word)) => Ok(word),
            other => bail!("{other:?} in place of a word"),
        }
    }

    fn sign(&mut self, sign: char) -> Result<()> {
        match self.solid() {
            Some(Token::Sign(found)) if found == sign => Ok(()),
            other => bail!("{other:?} in place of `{sign}`"),
        }
    }

    fn peek(&mut self, sign: char) -> bool {
        let before = self.at;
        let found = matches!(self.solid(), Some(Token::Sign(found)) if found == sign);
        self.at = before;
        found
    }

    /// `type name`, `type *name`, `type name[n]`, `type name<n>`, without the semicolon.
    fn member(&mut self) -> Result<Member> {
        let mut words = Vec::new();
        let mut optional = false;
        let many = loop {
            match self.solid() {
                Some(Token::Word(word)) => words.push(word),
                Some(Token::Sign('*')) => optional = true,
                Some(Token::Sign('[')) => {
                    let bound = self.word()?;
                    self.sign(']')?;
                    break Many::Fixed(bound);
                }
                Some(Token::Sign('<')) => {
                    let bound = self.word()?;
                    self.sign('>')?;
                    break Many::UpTo(bound);
                }
                other => bail!("{other:?} inside a member"),
            }
            if self.peek(';') {
                break if optional { Many::Optional } else { Many::One };
            }
        };
        let name = words.pop().context("a member without a name")?;
        Ok(Member { of: words.join(" "), name, many })
    }

    fn members(&mut self) -> Result<Vec<Member>> {
        self.sign('{')?;
        let mut members = Vec::new();
        while !self.peek('}') {
            members.push(self.member()?);
            self.sign(';')?;
        }
        self.sign('}')?;
        Ok(members)
    }

    fn union(&mut self) -> Result<Vec<(String, Member)>> {
        let word = self.word()?;
        if word != "switch" {
            bail!("`{word}` in place of `switch`");
        }
        self.sign('(')?;
        while !self.peek(')') {
            self.word()?;
        }
        self.sign(')')?;
        self.sign('{')?;
        let mut cases = Vec::new();
        while !self.peek('}') {
            let case = self.word()?;
            if case != "case" {
                bail!("`{case}` in place of `case`");
            }
            let tag = self.word()?;
            self.sign(':')?;
            cases.push((tag, self.member()?));
            self.sign(';')?;
        }
        self.sign('}')?;
        Ok(cases)
    }

    fn enumeration(&mut self) -> Result<Vec<(String, i64, Annotations)>> {
        self.sign('{')?;
        let mut constants = Vec::new();
        let mut comment = String::new();
        loop {
            match self.next().context("an enum without an end")?.clone() {
                Token::Comment(text) => comment = text,
                Token::Sign('}') => return Ok(constants),
                Token::Sign(',') => {}
                Token::Word(name) => {
                    self.sign('=')?;
                    let value = self.word()?.parse().with_context(|| format!("value of {name}"))?;
                    constants.push((name, value, annotations(&std::mem::take(&mut comment))));
                }
                other => bail!("{other:?} inside an enum"),
            }
        }
    }
}

fn annotations(comment: &str) -> Annotations {
    let mut found = Annotations::new();
    for line in comment.lines() {
        let line = line.trim().trim_start_matches('*').trim();
        if let Some((word, value)) = line.strip_prefix('@').and_then(|line| line.split_once(':')) {
            found.entry(word.to_owned()).or_default().push(value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_declarations_are_read() {
        let text = "/* head */\n%#include <x.h>\nconst MAX = 16; const OTHER=MAX_OF_C;\n\
            typedef string name_t<MAX>;\ntypedef name_t *opt_t;\ntypedef opaque id_t[MAX];\n\
            struct empty {};\nstruct s { /* insert@1 */\n unsigned hyper a; char b[32]; name_t c<MAX>; /* (x) */\n opt_t d; };\n\
            union v switch (int type) {\n case A:\n int i;\n case B:\n name_t s; };\n\
            enum p {\n /** * words\n * @generate: none\n * @acl: a:b\n * @acl: c:d:E\n */\n ONE = 1,\n /* @priority: high */ TWO = 2\n};";
        let file = parse(text).unwrap();
        assert_eq!(file.constants[1], ("OTHER".into(), "MAX_OF_C".into()));
        assert_eq!(file.types[1], Member { of: "name_t".into(), name: "opt_t".into(), many: Many::Optional });
        assert_eq!(file.structs[0].members, []);
        let members = &file.structs[1].members;
        assert_eq!(members[0].of, "unsigned hyper");
        assert_eq!(members[1].many, Many::Fixed("32".into()));
        assert_eq!(members[2].many, Many::UpTo("MAX".into()));
        assert_eq!(file.unions[0].1[1].0, "B");
        let (name, value, annotations) = &file.enums[0].constants[0];
        assert_eq!((name.as_str(), *value), ("ONE", 1));
        assert_eq!(annotations["acl"], ["a:b", "c:d:E"]);
        assert_eq!(file.enums[0].constants[1].2["priority"], ["high"]);
    }

    #[test]
    fn what_is_no_declaration_says_so() {
        let problem = |text| format!("{:#}", parse(text).unwrap_err());
        assert!(problem("struct s { int };").contains("in struct s"));
        assert!(problem("flurb x;").contains("flurb"));
        assert!(problem("/* open").contains("without an end"));
    }
}
