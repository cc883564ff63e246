//! How a query is evaluated: the member `explain` of an answer, for who asks for it. `schemas/explain.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The request parameter: [`EXPLAIN_PLAN`] or [`EXPLAIN_ANALYZE`].
pub const EXPLAIN_PARAM: &str = "explain";
/// Describes the plan without running it.
pub const EXPLAIN_PLAN: &str = "plan";
/// Runs the query and says what each step took.
pub const EXPLAIN_ANALYZE: &str = "analyze";

/// A step of a plan; its inputs are the steps below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStep {
    /// What it does.
    pub step: String,
    /// What is known before it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// What it took; empty if it did not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Count>,
    /// Where its input comes from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<PlanStep>,
}

/// Something known about a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// Of what.
    pub name: String,
    /// What.
    pub value: String,
}

/// A number that a step counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Count {
    /// Of what.
    pub name: String,
    /// How many.
    pub value: u64,
}

/// An answer of which only the explanation is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ExplainAnswer {
    /// The explanation; absent if the server knows of none.
    #[serde(default)]
    pub explain: Option<PlanStep>,
}

/// Adds the explanation to an encoded answer, as its last member.
pub fn add_to(answer: &mut Vec<u8>, plan: &PlanStep) {
    let Some(end) = answer.iter().rposition(|byte| *byte == b'}') else { return };
    // Texts and numbers can always be written.
    let Ok(plan) = serde_json::to_vec(plan) else { return };
    let rest = answer.split_off(end);
    answer.extend_from_slice(b",\"explain\":");
    answer.extend_from_slice(&plan);
    answer.extend_from_slice(&rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki_query::{QueryAnswer, decode};

    #[test]
    fn an_answer_keeps_its_form() {
        let mut answer =
            b"{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"result\":[]}}\n".to_vec();
        let leaf = PlanStep {
            step: "scan".to_owned(),
            facts: vec![Fact { name: "a".to_owned(), value: "\"}".to_owned() }],
            counts: vec![Count { name: "blocks".to_owned(), value: 2 }],
            inputs: Vec::new(),
        };
        let plan =
            PlanStep { step: "first 10 entries".to_owned(), inputs: vec![leaf], ..PlanStep::default() };
        add_to(&mut answer, &plan);
        assert!(answer.ends_with(b"}]}]}}\n"), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(decode::<ExplainAnswer>(&answer).unwrap().explain, Some(plan));
        assert!(decode::<QueryAnswer>(&answer).is_ok());
        assert_eq!(decode::<ExplainAnswer>(b"{\"data\":{}}").unwrap().explain, None);
    }
}
