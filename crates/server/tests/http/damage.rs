//! What is answered when a block of a segment is damaged.

use super::*;

/// Flips a bit in the first block of the only segment.
fn damage_segment(world: &World) {
    let mut dir = world.folder.path().join("tenants");
    loop {
        let item = RealDisk.list(&dir).unwrap().remove(0);
        dir = dir.join(item.name);
        if !item.is_dir {
            break;
        }
    }
    let mut bytes = RealDisk.read(&dir).unwrap();
    bytes[70] ^= 1;
    RealDisk.write_atomic(&dir, &bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_block_is_a_warning() {
    // A compaction writes the segment anew as soon as the damage is known, and ends the warning.
    let compaction = CompactionSettings { enabled: false, ..CompactionSettings::default() };
    let store = StoreSettings { compaction, ..StoreSettings::default() };
    let world = world_over(store, IngestSettings::default(), ServerSettings::default()).await;
    let day_ns = 24 * 3600 * SEC_NS;
    world.push_json(&stream(r#"{"app":"f"}"#, &[(NOW_NS - day_ns, "old")])).await;
    world.send(Request::post("/flush").body(Body::empty()).unwrap()).await;
    world.push_json(&stream(r#"{"app":"f"}"#, &[(NOW_NS - SEC_NS, "new")])).await;
    damage_segment(&world);
    let start = NOW_NS - 2 * day_ns;
    let range = format!("&start={start}&end={NOW_NS}");
    for (query, more) in [("{app=\"f\"} |= \"o\"", "&direction=forward"), ("{app=\"f\"}", "")] {
        let answer =
            world.get(&format!("/loki/api/v1/query_range?query={}{range}{more}", escape(query))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(
            answer.text().contains("answer is incomplete: the block at offset 64 of "),
            "{}",
            answer.text()
        );
        assert!(answer.text().contains(".seg with 1 entries from "), "{}", answer.text());
    }
    assert_eq!(world.lines("{app=\"f\"}", &range).await, ["new"]);
    let metrics = world.get("/metrics").await;
    assert!(metrics.text().contains("logyard_store_damaged_blocks_total 1"), "{}", metrics.text());
    let today = format!("&start={}&end={NOW_NS}", NOW_NS - 3600 * SEC_NS);
    let answer = world.get(&format!("/loki/api/v1/query_range?query={}{today}", escape("{app=\"f\"}"))).await;
    assert!(!answer.text().contains("warnings"), "{}", answer.text());
}

/// Each endpoint is the first to meet the damage, and with a delete request that has to look into blocks, too.
#[tokio::test]
async fn everything_that_reads_survives_a_damaged_block() {
    let selector = escape("{app=\"f\"}");
    let range = format!("start={}&end={NOW_NS}", NOW_NS - 48 * 3600 * SEC_NS);
    let paths = [
        format!("query_range?query={selector}&{range}"),
        format!("query_range?query={}&{range}", escape("{app=\"f\"} |= \"new\" | context 2")),
        format!(
            "query_range?query={}&{range}&step=60",
            escape("sum(bytes_over_time({app=\"f\"} |= \"e\" [1h]))")
        ),
        format!("query?query={}&time={NOW_NS}", escape("count_over_time({app=\"f\"}[2d])")),
        format!("labels?{range}"),
        format!("label/app/values?{range}"),
        format!("series?match[]={selector}&{range}"),
        format!("index/stats?query={selector}&{range}"),
        format!("index/volume?query={selector}&{range}"),
        format!("index/volume_range?query={selector}&{range}&step=60"),
        format!("detected_labels?query={selector}&{range}"),
        format!("detected_fields?query={selector}&{range}"),
        format!("patterns?query={selector}&{range}&step=60"),
    ];
    for (path, has_delete) in paths.iter().flat_map(|path| [(path, false), (path, true)]) {
        let compaction = CompactionSettings { enabled: false, ..CompactionSettings::default() };
        let store = StoreSettings { compaction, ..StoreSettings::default() };
        let world = world_over(store, IngestSettings::default(), ServerSettings::default()).await;
        let old_ns = NOW_NS - 24 * 3600 * SEC_NS;
        let old = [(old_ns, "old"), (old_ns + 1, "older"), (old_ns + 2, "secret")];
        world.push_json(&stream(r#"{"app":"f"}"#, &old)).await;
        world.send(Request::post("/flush").body(Body::empty()).unwrap()).await;
        world.push_json(&stream(r#"{"app":"f"}"#, &[(NOW_NS - SEC_NS, "new")])).await;
        damage_segment(&world);
        if has_delete {
            let query = escape("{app=\"f\"} |= \"secret\"");
            let path =
                format!("/loki/api/v1/delete?query={query}&start={}", (NOW_NS - 48 * 3600 * SEC_NS) / SEC_NS);
            let asked = world.send(Request::post(path).body(Body::empty()).unwrap()).await;
            assert_eq!(asked.status, StatusCode::NO_CONTENT, "{}", asked.text());
        }
        for attempt in ["first", "second"] {
            let answer = world.get(&format!("/loki/api/v1/{path}")).await;
            let text = answer.text();
            assert_eq!(answer.status, StatusCode::OK, "{attempt} {path}, delete: {has_delete}: {text}");
            let is_query = path.starts_with("query_range") || path.starts_with("query?");
            let is_told = text.contains("answer is incomplete");
            assert!(!is_query || is_told || path.starts_with("query?"), "{attempt} {path}: {text}");
        }
    }
}
