//! The words of a load tool's command line: `name=number`, and names of parts.

/// Sets the numbers that the command line names, and returns the parts that it names: all of them if none.
///
/// A word with a dash in front is cargo's. Panics with what there is at a word that is neither.
pub(crate) fn read(parts: &[&'static str], numbers: &mut [(&str, &mut u64)]) -> Vec<&'static str> {
    let mut named = Vec::new();
    for word in std::env::args().skip(1).filter(|word| !word.starts_with('-')) {
        let number = word.split_once('=').and_then(|(name, digits)| {
            let number = digits.parse().ok()?;
            let place = numbers.iter_mut().find(|(known, _)| *known == name)?;
            *place.1 = number;
            Some(())
        });
        let part = parts.iter().find(|part| **part == word);
        named.extend(part);
        if number.is_none() && part.is_none() {
            let names: Vec<&str> = numbers.iter().map(|(name, _)| *name).collect();
            panic!("no {word}: want name=number of {}, or one of {parts:?}", names.join(", "));
        }
    }
    if named.is_empty() { parts.to_vec() } else { named }
}
