//! The whole names of the program's functions, from its table of symbols.

use std::{fs::File, ops::Range};

use backtrace::SymbolName;
use mappings::MAPPINGS;
use object::{Object as _, ObjectSymbol as _, ReadCache, SymbolKind};

/// None, where the program was stripped of them.
#[derive(Default)]
pub struct Symbols {
    /// Where the program's parts lie, and what its file calls the first byte of each.
    parts: Vec<(Range<usize>, u64)>,
    /// Where each begins, its length, and its name as the compiler has it; by where they begin.
    symbols: Vec<(u64, u64, String)>,
}

impl Symbols {
    pub fn of_this_program() -> Self {
        // The program comes first, and then what it calls.
        let Some(first) = MAPPINGS.iter().flatten().next() else { return Self::default() };
        let program = &first.pathname;
        let of_program = MAPPINGS.iter().flatten().filter(|mapping| mapping.pathname == *program);
        let parts = of_program
            .map(|mapping| (mapping.memory_start..mapping.memory_end, mapping.memory_offset as u64))
            .collect();
        // Not the path: the file may have been replaced since the program began.
        let file = File::open("/proc/self/exe").or_else(|_| File::open(program));
        // Only what is asked for is read: the table, and the names in it.
        let symbols = file.map(|file| table(&ReadCache::new(file))).unwrap_or_default();
        Self { parts, symbols }
    }

    pub fn name_at(&self, address: usize) -> Option<String> {
        let (part, offset) = self.parts.iter().find(|(part, _)| part.contains(&address))?;
        let address = (address - part.start) as u64 + offset;
        let behind = self.symbols.partition_point(|(begin, ..)| *begin <= address);
        let (begin, length, name) = self.symbols.get(behind.checked_sub(1)?)?;
        (address - begin < *length).then(|| format!("{:#}", SymbolName::new(name.as_bytes())))
    }
}

fn table(file: &ReadCache<File>) -> Vec<(u64, u64, String)> {
    let Ok(program) = object::File::parse(file) else { return Vec::new() };
    let functions = program.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let mut table: Vec<_> = functions
        .filter_map(|symbol| Some((symbol.address(), symbol.size(), symbol.name().ok()?.to_owned())))
        .collect();
    table.sort_unstable();
    table
}
