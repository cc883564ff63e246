//! States of containers that Docker has no word for.
//!
//! Bollard refuses a whole list for one word that it doesn't know, and Podman has more of them: a container is `stopped`
//! until somebody cleaned up behind it, and stays so if nobody does. One such container must not hide all the others.

use bollard::models::{ContainerStateStatusEnum, ContainerSummaryStateEnum};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Puts Docker's words for states into a list of containers.
pub(crate) fn tell_listed(list: &mut Value) {
    for container in list.as_array_mut().into_iter().flatten() {
        tell::<ContainerSummaryStateEnum>(container.get_mut("State"));
    }
}

/// Puts Docker's word for its state into a container's inspection.
pub(crate) fn tell_inspected(container: &mut Value) {
    tell::<ContainerStateStatusEnum>(container.pointer_mut("/State/Status"));
}

fn tell<Known: DeserializeOwned>(state: Option<&mut Value>) {
    if let Some(state) = state
        && serde_json::from_value::<Known>(state.clone()).is_err()
    {
        let told = match state.as_str() {
            Some("configured" | "initialized") => "created",
            Some("stopped") => "exited",
            // Neither created nor over, so it is looked at as one that runs.
            _ => "",
        };
        *state = told.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{ContainerInspectResponse, ContainerSummary};
    use serde_json::{from_value, json};

    #[test]
    fn one_strange_state_hides_no_other_container() {
        use ContainerSummaryStateEnum as State;
        let states = ["running", "stopped", "configured", "initialized", "dreaming", "exited"];
        let mut list = states.map(|state| json!({"Id": "1", "State": state})).to_vec();
        list.push(json!({"Id": "2"}));
        let mut list = Value::Array(list);
        tell_listed(&mut list);
        let told: Vec<ContainerSummary> = from_value(list).unwrap();
        let told: Vec<Option<State>> = told.into_iter().map(|container| container.state).collect();
        let want =
            [State::RUNNING, State::EXITED, State::CREATED, State::CREATED, State::EMPTY, State::EXITED];
        assert_eq!(told, [&want.map(Some)[..], &[None]].concat());
    }

    #[test]
    fn a_strange_state_is_told_in_an_inspection() {
        let mut shown = json!({"Id": "1", "State": {"Status": "stopped", "Running": false}});
        tell_inspected(&mut shown);
        let told: ContainerInspectResponse = from_value(shown).unwrap();
        assert_eq!(told.state.unwrap().status, Some(ContainerStateStatusEnum::EXITED));
        let mut nothing = json!(null);
        tell_inspected(&mut nothing);
        tell_listed(&mut nothing);
        assert_eq!(nothing, json!(null));
    }
}
