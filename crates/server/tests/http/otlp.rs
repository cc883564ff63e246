//! `/otlp/v1/logs`.

use super::*;

async fn export(world: &World, content_type: &str, encoding: &str, body: Vec<u8>) -> Answer {
    let request = Request::post("/otlp/v1/logs")
        .header("content-type", content_type)
        .header("content-encoding", encoding)
        .body(Body::from(body));
    world.send(request.unwrap()).await
}

/// Returns the message of a `Status` of fewer than 128 bytes of text.
fn message(answer: &Answer) -> &str {
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(answer.body[0], 2 << 3 | 2);
    assert_eq!(usize::from(answer.body[1]), answer.body.len() - 2);
    std::str::from_utf8(&answer.body[2..]).unwrap()
}

#[tokio::test]
async fn check_26_exports_of_both_forms_are_answered() {
    let world = world().await;
    let json = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}},
        {{"key":"os.type","value":{{"stringValue":"linux"}}}}]}},"scopeLogs":[{{"logRecords":[
        {{"timeUnixNano":"{}","severityNumber":17,"body":{{"stringValue":"from json"}}}}]}}]}}]}}"#,
        NOW_NS - SEC_NS
    );
    let plain = "application/json; charset=utf-8";
    assert_eq!(export(&world, plain, "", json.clone().into_bytes()).await.status, StatusCode::NO_CONTENT);
    // Sent again, it changes nothing.
    assert_eq!(export(&world, plain, "gzip", gzip(json.as_bytes())).await.status, StatusCode::NO_CONTENT);
    let name = [field(1, b"service.name"), field(2, &field(1, b"shop"))].concat();
    // Without a time it is that of its arrival.
    let record = field(2, &field(5, &field(1, b"from protobuf")));
    let body = field(1, &[field(1, &field(1, &name)), field(2, &record)].concat());
    let protobuf = export(&world, "application/x-protobuf", "", body).await;
    assert_eq!(protobuf.status, StatusCode::NO_CONTENT);
    let end = format!("&end={}", NOW_NS + 1);
    let streams = world.streams("{service_name=\"shop\"}", &end).await;
    let shown: Vec<String> =
        streams.iter().map(|found| format!("{:?} {}", found.stream, found.values[0].line)).collect();
    assert_eq!(
        shown,
        [
            r#"{"detected_level": "error", "os_type": "linux", "service_name": "shop", "severity_number": "17"} from json"#,
            r#"{"detected_level": "unknown", "service_name": "shop"} from protobuf"#,
        ]
    );
    let none = export(&world, "application/json", "", b"{}".to_vec()).await;
    assert_eq!(none.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn check_26_faults_are_a_status_of_protobuf() {
    let limits = IngestSettings { line_bytes_max: 5, push_body_bytes_max: 500, ..IngestSettings::default() };
    let world = world_with(limits, ServerSettings::default()).await;
    let long = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"too long"}}]}]}]}"#;
    let answer = export(&world, "application/json", "", long.into()).await;
    assert_eq!((answer.status, answer.body[0]), (StatusCode::BAD_REQUEST, 2 << 3 | 2));
    assert!(String::from_utf8_lossy(&answer.body).contains("max entry size '5' bytes exceeded"));
    for (content_type, body, status, text) in [
        ("application/json", "nope".to_owned(), 400, "cannot read export as JSON: "),
        ("text/plain", "{}".to_owned(), 400, "cannot read export: content type \"text/plain\""),
    ] {
        let answer = export(&world, content_type, "", body.into_bytes()).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(message(&answer).starts_with(text), "{}", message(&answer));
    }
    let large = export(&world, "application/json", "", vec![b' '; 501]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    let settings = ServerSettings { auth_enabled: true, ..ServerSettings::default() };
    let guarded = world_with(IngestSettings::default(), settings).await;
    let answer = export(&guarded, "application/json", "", b"{}".to_vec()).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::UNAUTHORIZED, "no org id\n"));
}
