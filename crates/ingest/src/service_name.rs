//! Gives streams the label `service_name`, which Logs Drilldown starts from.

use logyard_model::LabelSet;

/// The label that is added.
pub(crate) const SERVICE_NAME: &str = "service_name";

/// Labels whose value names the service, the first present and not empty wins (Loki v3.7.6's default).
pub const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Adds `service_name` where it is missing. Empty labels must be gone already.
pub(crate) fn discover(labels: &mut LabelSet) {
    if labels.get(SERVICE_NAME).is_some() {
        return;
    }
    let name = SERVICE_LABELS.iter().find_map(|source| labels.get(source));
    let name: Box<str> = name.unwrap_or("unknown_service").into();
    labels.insert(SERVICE_NAME, name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[(&str, &str)], expect: &str) {
        let mut set = LabelSet::from_pairs(labels.iter().copied());
        discover(&mut set);
        assert_eq!(set.get(SERVICE_NAME), Some(expect), "{labels:?}");
    }

    #[test]
    fn the_list_is_tried_in_order() {
        check(&[("service", "a"), ("app", "b")], "a");
        check(&[("app", "b"), ("name", "c")], "b");
        check(&[("container", "x"), ("component", "y")], "x");
        check(&[("component", "x"), ("job", "y")], "x");
        check(&[("k8s_job_name", "x")], "x");
        check(&[("service_name", "given"), ("app", "b")], "given");
        check(&[("compose_service", "x")], "unknown_service");
        check(&[], "unknown_service");
    }
}
