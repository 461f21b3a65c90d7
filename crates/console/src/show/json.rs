//! JSON as a tree that opens and closes. Numbers are shown as they were written, to the last digit.

use serde_json::value::RawValue;

/// Values of one tree that are shown; what is behind them is told, and stands in the raw text.
const NODES_MAX: usize = 2000;
const DEPTH_MAX: usize = 32;

/// A value on its own line, at its depth, in the order of the text.
#[derive(Clone, Debug)]
pub struct Node {
    pub depth: usize,
    /// The member's name, or the index in an array.
    pub name: String,
    /// A JSON pointer (RFC 6901), to copy.
    pub path: String,
    /// As it was written; empty for an object or array, which follow.
    pub text: String,
    pub class: &'static str,
}

#[derive(Clone, Debug)]
pub struct Tree {
    pub nodes: Vec<Node>,
    pub is_cut: bool,
    pub raw: String,
}

/// `None`: it is not JSON.
pub fn tree(text: &str) -> Option<Tree> {
    let value: &RawValue = serde_json::from_str(text).ok()?;
    let mut tree = Tree { nodes: Vec::new(), is_cut: false, raw: text.to_owned() };
    tree.walk(value, 0, String::new(), String::new());
    Some(tree)
}

impl Tree {
    fn walk(&mut self, value: &RawValue, depth: usize, name: String, path: String) {
        if self.nodes.len() >= NODES_MAX || depth > DEPTH_MAX {
            self.is_cut = true;
            return;
        }
        let text = value.get();
        let class = match text.as_bytes().first() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "text",
            Some(b't' | b'f') => "flag",
            Some(b'n') => "null",
            _ => "number",
        };
        let shown = if matches!(class, "object" | "array") { String::new() } else { text.to_owned() };
        self.nodes.push(Node { depth, name, path: path.clone(), text: shown, class });
        match class {
            "object" => {
                // In the order of the text: an event's fields are read in the order in which they were written.
                let Ok(members) = serde_json::from_str::<Members<'_>>(text) else { return };
                for (name, value) in members.0 {
                    let step = name.replace('~', "~0").replace('/', "~1");
                    self.walk(value, depth + 1, name, format!("{path}/{step}"));
                }
            }
            "array" => {
                let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else { return };
                for (index, value) in items.into_iter().enumerate() {
                    self.walk(value, depth + 1, index.to_string(), format!("{path}/{index}"));
                }
            }
            _ => {}
        }
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Visitor).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failure of others: 2^53 and beyond, rounded by the browser's numbers.
    #[test]
    fn numbers_keep_every_digit_and_members_their_order() {
        let text = r#"{"z":9223372036854775807,"a":{"b/c":[1.10,"<b>",true,null]}}"#;
        let tree = tree(text).unwrap();
        let lines: Vec<String> =
            tree.nodes.iter().map(|n| format!("{}{}={}", " ".repeat(n.depth), n.path, n.text)).collect();
        assert_eq!(
            lines,
            [
                "=",
                " /z=9223372036854775807",
                " /a=",
                "  /a/b~1c=",
                "   /a/b~1c/0=1.10",
                "   /a/b~1c/1=\"<b>\"",
                "   /a/b~1c/2=true",
                "   /a/b~1c/3=null"
            ]
        );
    }

    #[test]
    fn a_large_or_deep_value_is_cut_and_said() {
        let wide = format!("[{}1]", "1,".repeat(NODES_MAX * 2));
        assert!(tree(&wide).is_some_and(|tree| tree.is_cut && tree.nodes.len() == NODES_MAX));
        let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
        assert!(tree(&deep).is_some_and(|tree| tree.is_cut));
        assert!(tree("{broken").is_none());
    }
}
