//! The isolation unit.

use std::fmt;

/// Longest tenant name in bytes (Loki v3.7.6).
const NAME_BYTES_MAX: usize = 150;

/// The name of an isolation unit: its data, limits and caches are nobody else's.
///
/// 1 to 150 bytes of `A-Z a-z 0-9 ! - _ . * ' ( )`, never `.` or `..`, as in Loki v3.7.6.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

/// Why a text is no tenant name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TenantError {
    /// The name is empty.
    #[error("no org id")]
    Empty,
    /// The name is longer than allowed.
    #[error("tenant ID is too long: max {NAME_BYTES_MAX} characters")]
    TooLong,
    /// The name is `.` or `..`.
    #[error("tenant ID is '.' or '..'")]
    Dots,
    /// The name holds a character outside the allowed set.
    #[error("tenant ID '{name}' contains unsupported character '{character}'")]
    Character {
        /// The refused name.
        name: String,
        /// Its first character outside the set.
        character: char,
    },
}

impl Tenant {
    /// Returns the tenant that everything belongs to while tenancy is off.
    pub fn single() -> Self {
        Self("fake".to_owned())
    }

    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() {
            return Err(TenantError::Empty);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if let Some(character) = name.chars().find(|&c| !allowed(c)) {
            return Err(TenantError::Character { name: name.to_owned(), character });
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(TenantError::TooLong);
        }
        if name == "." || name == ".." {
            return Err(TenantError::Dots);
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the name, which is safe as the name of a folder.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Those whose entries a request reads: one, or several together.
///
/// Shape: never empty, sorted, each once. Written as the names with `|` between them, as Loki v3.7.6 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants(Vec<Tenant>);

impl Tenants {
    /// Reads names with `|` between them. Of each, a suffix `:sub` is cut off, as in Loki.
    ///
    /// Errors: that of the first name that is none.
    pub fn parse(text: &str) -> Result<Self, TenantError> {
        let names = text.split('|').map(|part| part.split(':').next().unwrap_or_default());
        let mut tenants = names.map(Tenant::new).collect::<Result<Vec<Tenant>, _>>()?;
        tenants.sort_unstable();
        tenants.dedup();
        Ok(Self(tenants))
    }

    /// Returns the tenant unless there are several.
    pub fn only(&self) -> Option<&Tenant> {
        match self.0.as_slice() {
            [tenant] => Some(tenant),
            _ => None,
        }
    }

    /// Returns how many there are, one at least.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Iterates in order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tenant> + Clone {
        self.0.iter()
    }
}

impl From<Tenant> for Tenants {
    fn from(tenant: Tenant) -> Self {
        Self(vec![tenant])
    }
}

impl fmt::Display for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, tenant) in self.iter().enumerate() {
            write!(f, "{}{tenant}", if index > 0 { "|" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_lokis_rules() {
        assert!(Tenant::new("team-a_1.x!*'()").is_ok());
        assert_eq!(Tenant::new(""), Err(TenantError::Empty));
        assert_eq!(Tenant::new(".."), Err(TenantError::Dots));
        assert_eq!(Tenant::new(&"x".repeat(151)), Err(TenantError::TooLong));
        assert_eq!(
            Tenant::new("a/b").unwrap_err().to_string(),
            "tenant ID 'a/b' contains unsupported character '/'"
        );
    }

    #[test]
    fn several_are_sorted_and_each_is_there_once() {
        let check = |text: &str, expect: Result<&str, TenantError>| {
            let parsed = Tenants::parse(text).map(|tenants| (tenants.len(), tenants.to_string()));
            let expect = expect.map(|text| (text.split('|').count(), text.to_owned()));
            assert_eq!(parsed, expect, "{text}");
        };
        check("b|a|b:sub", Ok("a|b"));
        check("a:x|a", Ok("a"));
        check("", Err(TenantError::Empty));
        for text in ["a|", "|a", "a||b"] {
            check(text, Err(TenantError::Empty));
        }
        check("a|..", Err(TenantError::Dots));
        assert_eq!(Tenants::parse("a|a").unwrap().only(), Some(&Tenant::new("a").unwrap()));
        assert_eq!(Tenants::parse("a|b").unwrap().only(), None);
        assert_eq!(Tenants::from(Tenant::single()).to_string(), "fake");
    }
}
