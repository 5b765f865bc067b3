//! The API of Kubernetes, as far as a chart asks it what is installed.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use super::charts::{NAMESPACE, RELEASE};

/// A server with the workloads of a release. It ends with the test's process.
#[derive(Debug)]
pub struct Cluster {
    address: SocketAddr,
}

impl Cluster {
    /// One in which the release has these objects, with what Helm and Kubernetes add.
    pub fn with(objects: &[Value]) -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let objects: Arc<Vec<_>> = Arc::new(objects.iter().cloned().map(installed).collect());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let objects = Arc::clone(&objects);
                thread::spawn(move || serve(&stream, &objects));
            }
        });
        Cluster { address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// An object as the API server answers it.
fn installed(mut object: Value) -> Value {
    object["metadata"]["annotations"]["meta.helm.sh/release-name"] = json!(RELEASE);
    if let Some(templates) = object["spec"]["volumeClaimTemplates"].as_array_mut() {
        for template in templates {
            template["status"] = json!({"phase": "Pending"});
            template["metadata"]["creationTimestamp"] = Value::Null;
        }
    }
    object
}

fn serve(stream: &TcpStream, objects: &[Value]) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split([' ', '?']).nth(1).unwrap_or_default();
    let (status, body) = match answer(path, objects) {
        Some(body) => ("200 OK", body),
        None => {
            ("404 Not Found", json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}))
        }
    };
    let body = body.to_string();
    let head =
        format!("content-type: application/json\r\ncontent-length: {}\r\nconnection: close", body.len());
    write!(&*stream, "HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}")
}

fn answer(path: &str, objects: &[Value]) -> Option<Value> {
    let resource = |name: &str, kind: &str| json!({"name": name, "kind": kind, "namespaced": true, "verbs": ["get", "list"]});
    let group = "/apis/apps/v1";
    if path == group {
        let resources = [resource("statefulsets", "StatefulSet"), resource("deployments", "Deployment")];
        return Some(
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1", "resources": resources}),
        );
    }
    let kind = match path.strip_prefix(&format!("{group}/namespaces/{NAMESPACE}/"))? {
        "statefulsets" => "StatefulSet",
        "deployments" => "Deployment",
        _ => return None,
    };
    let items: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    Some(json!({"kind": format!("{kind}List"), "apiVersion": "apps/v1", "metadata": {}, "items": items}))
}
