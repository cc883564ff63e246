//! Fetching a long range in parts, several at a time: the flags of Loki's client.

use clap::Args;

use crate::run::Stop;
use crate::time_text::parse_duration_ns;

/// Shortest part: their files are named by the second.
const PART_NS_MIN: i64 = 1_000_000_000;

/// How a range is fetched in parts.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Parts")]
pub(crate) struct PartFlags {
    /// Length of a part
    #[arg(long, default_value = "1h", value_name = "DURATION", hide_short_help = true)]
    parallel_duration: String,

    /// Parts fetched at a time; above 1 the limit does not count, and without --part-path-prefix parts are printed
    /// as they come
    #[arg(long, default_value_t = 1, value_name = "COUNT", hide_short_help = true)]
    parallel_max_workers: u16,

    /// Write each part to a file PREFIX_BEGIN_END.part; those that are there are not fetched again
    #[arg(long, value_name = "PREFIX", hide_short_help = true)]
    part_path_prefix: Option<String>,

    /// Fetch again what is there
    #[arg(long, hide_short_help = true)]
    overwrite_completed_parts: bool,

    /// Print the parts in order, each when it and those before are there, and remove their files
    #[arg(long, hide_short_help = true)]
    merge_parts: bool,

    /// With --merge-parts: leave the files
    #[arg(long, hide_short_help = true)]
    keep_parts: bool,
}

/// How a range is to be fetched in parts.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Length of a part, at least a second.
    pub(crate) part_ns: i64,
    /// Parts fetched at a time, at least 1.
    pub(crate) workers: usize,
    /// Beginning of the names of files; none: printed as they come.
    pub(crate) prefix: Option<String>,
    /// Whether files that are there are fetched again.
    pub(crate) overwrites: bool,
    /// Whether files are printed in order.
    pub(crate) merges: bool,
    /// Whether printed files stay.
    pub(crate) keeps: bool,
}

impl PartFlags {
    /// Returns how to fetch in parts, if that is asked for. Errors: flags that make no sense together.
    pub(crate) fn wanted(&self) -> Result<Option<Wanted>, Stop> {
        let prefix = self.part_path_prefix.clone().filter(|prefix| !prefix.is_empty());
        if prefix.is_none() && (self.merge_parts || self.overwrite_completed_parts) {
            return Err(Stop::Trouble(
                "parts are merged from files; name them by --part-path-prefix".to_owned(),
            ));
        }
        if prefix.is_none() && self.parallel_max_workers < 2 {
            return Ok(None);
        }
        let part_ns = parse_duration_ns(&self.parallel_duration)?;
        if part_ns < PART_NS_MIN {
            return Err(Stop::Trouble(format!(
                "cannot use --parallel-duration {}: want a second or more",
                self.parallel_duration
            )));
        }
        Ok(Some(Wanted {
            part_ns,
            workers: usize::from(self.parallel_max_workers.max(1)),
            prefix,
            overwrites: self.overwrite_completed_parts,
            merges: self.merge_parts,
            keeps: self.keep_parts,
        }))
    }
}
