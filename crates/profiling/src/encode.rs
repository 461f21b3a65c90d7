//! From stacks of addresses to a profile with the names of the functions.

use std::{
    collections::{HashMap, hash_map::Entry},
    env, ptr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    ProfileError,
    proto::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType},
    symbols::Symbols,
};

/// What the values of a profile are.
pub struct Kind {
    /// Each value's name and unit; the last one is also what the period counts.
    pub values: &'static [(&'static str, &'static str)],
    /// Between two samples.
    pub period: i64,
    pub duration: Duration,
    /// Functions that are left out, with all that they called: a regular expression.
    pub drop_frames: &'static str,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Where each function goes on, the innermost first.
    pub addresses: Vec<usize>,
    pub thread: Option<String>,
}

/// The program is the only file that is named: what it calls of others has names by itself.
const PROGRAM: u64 = 1;

pub fn encode(kind: &Kind, stacks: impl Iterator<Item = (Stack, Vec<i64>)>) -> Result<Vec<u8>, ProfileError> {
    let mut names = Names { symbols: Symbols::of_this_program(), ..Names::default() };
    // The first text has to be the empty one.
    names.text("");
    let sample = stacks
        .map(|(Stack { addresses, thread }, value)| {
            let location_id = addresses.into_iter().map(|address| names.location(address)).collect();
            let label = thread.map(|thread| Label { key: names.text("thread"), str: names.text(&thread) });
            Sample { location_id, value, label: label.into_iter().collect() }
        })
        .collect();
    let sample_type: Vec<ValueType> = kind
        .values
        .iter()
        .map(|(name, unit)| ValueType { r#type: names.text(name), unit: names.text(unit) })
        .collect();
    let program = env::current_exe().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let mapping = Mapping {
        id: PROGRAM,
        memory_limit: u64::MAX,
        filename: names.text(&program),
        has_functions: true,
        has_filenames: true,
        has_line_numbers: true,
        has_inline_frames: true,
    };
    let profile = Profile {
        period_type: sample_type.last().cloned(),
        sample_type,
        sample,
        mapping: vec![mapping],
        drop_frames: names.text(kind.drop_frames),
        time_nanos: nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        duration_nanos: nanoseconds(kind.duration),
        period: kind.period,
        location: names.locations,
        function: names.functions,
        string_table: names.texts,
    };
    // What finding names took of memory is not kept until the next time.
    backtrace::clear_symbol_cache();
    profile.write().map_err(|error| ProfileError::Failed(error.to_string()))
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Each text, function and place once.
#[derive(Default)]
struct Names {
    symbols: Symbols,
    texts: Vec<String>,
    text_places: HashMap<String, i64>,
    functions: Vec<Function>,
    /// By name and file: what was inlined is called `{closure#0}` in many.
    function_ids: HashMap<(String, String), u64>,
    locations: Vec<Location>,
    location_ids: HashMap<usize, u64>,
}

impl Names {
    fn text(&mut self, text: &str) -> i64 {
        if let Some(place) = self.text_places.get(text) {
            return *place;
        }
        let place = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.texts.push(text.to_owned());
        self.text_places.insert(text.to_owned(), place);
        place
    }

    fn location(&mut self, address: usize) -> u64 {
        let next = self.location_ids.len() as u64 + 1;
        match self.location_ids.entry(address) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(new) => new.insert(next),
        };
        let mut line: Vec<Line> = Vec::new();
        // It looks one byte before the address, where the call is.
        backtrace::resolve(ptr::without_provenance_mut(address), |symbol| {
            let Some(name) = symbol.name() else { return };
            let file = symbol.filename().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
            let system_name = String::from_utf8_lossy(name.as_bytes());
            // Without the hash at its end, which tells nobody anything.
            let function_id = self.function(&format!("{name:#}"), &system_name, &file);
            line.push(Line { function_id, line: symbol.lineno().map_or(0, i64::from) });
        });
        let address = address.saturating_sub(1);
        if let Some(name) = self.symbols.name_at(address) {
            self.name_outermost(&mut line, &name);
        }
        let address = address as u64;
        self.locations.push(Location { id: next, mapping_id: PROGRAM, address, line });
        next
    }

    /// What debugging information says of a function is its last name alone, `run` or `poll`; the symbol has the whole
    /// of it. What was inlined there has no symbol.
    fn name_outermost(&mut self, line: &mut Vec<Line>, name: &str) {
        let before = line.pop().unwrap_or_default();
        let known = self.functions.iter().find(|function| function.id == before.function_id);
        let filename = known.map_or(0, |function| function.filename);
        let file = usize::try_from(filename).ok().and_then(|place| self.texts.get(place).cloned());
        let function_id = self.function(name, name, &file.unwrap_or_default());
        line.push(Line { function_id, ..before });
    }

    fn function(&mut self, name: &str, system_name: &str, file: &str) -> u64 {
        let key = (name.to_owned(), file.to_owned());
        if let Some(id) = self.function_ids.get(&key) {
            return *id;
        }
        let id = self.functions.len() as u64 + 1;
        let (place, system_name, filename) = (self.text(name), self.text(system_name), self.text(file));
        self.functions.push(Function { id, name: place, system_name, filename });
        self.function_ids.insert(key, id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_one_name_keep_their_files() {
        let mut names = Names::default();
        let mut file_of = |file: &str| {
            let id = names.function("{closure#0}", "", file);
            let function = &names.functions[usize::try_from(id).unwrap() - 1];
            names.texts[usize::try_from(function.filename).unwrap()].clone()
        };
        assert_eq!(["a.rs", "b.rs", "a.rs"].map(&mut file_of), ["a.rs", "b.rs", "a.rs"]);
        assert_eq!(names.functions.len(), 2);
    }

    #[test]
    fn stacks_are_read_back_with_names_and_sums() {
        let here = nanoseconds as *const () as usize + 1;
        let stack = |thread: &str| Stack { addresses: vec![here], thread: Some(thread.to_owned()) };
        let kind = Kind {
            values: &[("samples", "count"), ("cpu", "nanoseconds")],
            period: 10,
            duration: Duration::from_secs(2),
            drop_frames: "malloc.*",
        };
        let stacks = [(stack("one"), vec![1, 10]), (stack("two"), vec![2, 20])];
        let profile = Profile::read(&encode(&kind, stacks.into_iter()).unwrap()).unwrap();
        assert_eq!(profile.value_in("encode::nanoseconds", "samples"), Some(3), "{profile:?}");
        assert_eq!(profile.value_in("encode::nanoseconds", "cpu"), Some(30));
        assert_eq!(profile.value_in("nowhere", "cpu"), Some(0));
        assert_eq!(profile.value_in("", "inuse_space"), None);
        assert_eq!(profile.threads().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!((profile.period, profile.duration_nanos), (10, 2_000_000_000));
        assert_eq!(profile.location.len(), 1);
        assert_eq!(profile.string_table[0], "");
    }
}
