//! A body as a tree that still knows what the sender wrote: whole numbers apart from fractions, and a
//! name that stands twice in an object. What the tree may cost is bounded.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::{problem::Problem, problem_kind::MALFORMED_BODY};

/// Names and values in one body; a bulk of a thousand payments with every field has nine thousand.
const VALUES_MAX: usize = 40_000;
/// Members of one object, so that looking for a name stays cheap.
const MEMBERS_MAX: usize = 64;

/// It has no `Debug`: a bank number in it must not reach a log.
pub enum Node<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number or a float beyond the range of `i64`.
    Huge,
    /// Written with a decimal point or an exponent.
    Fraction,
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Members<'a>),
}

/// In the order in which they were written; a name may stand twice.
pub type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

pub fn parse(body: &[u8]) -> Result<Node<'_>, Problem> {
    let text = str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Problem::new(MALFORMED_BODY, format!("The body is not UTF-8: byte {at} begins no character."))
    })?;
    let left = Cell::new(VALUES_MAX);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Seed { left: &left }
        .deserialize(&mut deserializer)
        .and_then(|node| deserializer.end().map(|()| node))
        .map_err(|error| Problem::new(MALFORMED_BODY, format!("The body is not usable JSON: {error}.")))
}

#[derive(Clone, Copy)]
struct Seed<'b> {
    left: &'b Cell<usize>,
}

impl Seed<'_> {
    fn spend<E: Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| E::custom(format!("more than {VALUES_MAX} values")))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<'de>, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(i64::try_from(value).map_or(Node::Huge, Node::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        // 2^63: the reader makes a float of any whole number beyond 64 bits.
        const I64_END: f64 = 9_223_372_036_854_775_808.0;
        Ok(if value.abs() >= I64_END { Node::Huge } else { Node::Fraction })
    }

    fn visit_str<E>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node<'de>, A::Error> {
        let mut members = Members::new();
        while let Some(name) = object.next_key_seed(self)? {
            let Node::Text(name) = name else { return Err(A::Error::custom("a name that is not a text")) };
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom(format!("an object of more than {MEMBERS_MAX} fields")));
            }
            members.push((name, object.next_value_seed(self)?));
        }
        Ok(Node::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_how_they_were_written() {
        let numbers = b"[1, -9223372036854775808, 9223372036854775808, 1e30, 1.0, 1e2]";
        let Ok(Node::List(items)) = parse(numbers) else { panic!("a list") };
        assert!(matches!(
            items.as_slice(),
            [Node::Int(1), Node::Int(i64::MIN), Node::Huge, Node::Huge, Node::Fraction, Node::Fraction]
        ));
    }

    #[test]
    fn broken_bodies_are_named_and_costly_ones_refused() {
        let deep = "[".repeat(10_000);
        let wide = format!("[{}0]", "0,".repeat(VALUES_MAX));
        let members: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("\"f{n}\":0")).collect();
        let many = format!("{{{}}}", members.join(","));
        let bodies: [&[u8]; 9] = [
            b"{\"a\": 1",
            b"{} {}",
            b"{'a': 1}",
            b"\xff",
            b"\"\\ud800\"",
            b"{\"a\": 01}",
            deep.as_bytes(),
            wide.as_bytes(),
            many.as_bytes(),
        ];
        for body in bodies {
            assert!(parse(body).is_err(), "{}", String::from_utf8_lossy(&body[..body.len().min(40)]));
        }
    }
}
