//! The charts, as two versions of Helm render them, and the schemas that judge what comes out.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The release in every rendering.
pub const RELEASE: &str = "live";
/// The namespace in every rendering.
pub const NAMESPACE: &str = "voice";

/// A chart with values, from `tests/charts/CHART/NAME.values.yaml`.
#[derive(Debug, Clone)]
pub struct Case {
    pub chart: PathBuf,
    pub name: String,
    pub values: Value,
    /// Where the values are.
    pub file: PathBuf,
}

/// What Helm made of a case.
#[derive(Debug)]
pub struct Rendered {
    pub text: String,
    pub objects: Vec<Value>,
    pub notes: String,
}

pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The gateway's chart.
pub fn gateway() -> PathBuf {
    path("helm/planet-call-exporter")
}

/// The example of a service with a sidecar.
pub fn example() -> PathBuf {
    path("helm/examples/voice-service")
}

/// Every case, in the order of their names.
pub fn cases() -> Vec<Case> {
    let of_chart = |chart: PathBuf, directory: &str| {
        let mut files: Vec<_> =
            fs::read_dir(path(directory)).expect("cases").flatten().map(|file| file.path()).collect();
        files.retain(|file| file.to_string_lossy().ends_with(".values.yaml"));
        files.sort();
        files.into_iter().map(move |file| {
            let name = file.file_name().expect("a file").to_string_lossy().replace(".values.yaml", "");
            let values = objects(&fs::read_to_string(&file).expect("values")).remove(0);
            Case { chart: chart.clone(), name, values, file }
        })
    };
    let gateway = of_chart(gateway(), "tests/charts/planet-call-exporter");
    gateway.chain(of_chart(example(), "tests/charts/voice-service")).collect()
}

/// What Helm 4 makes of the cases, or why it refuses them.
pub fn render_all<'a>(
    cases: impl IntoIterator<Item = (&'a PathBuf, &'a Value)>,
) -> Vec<Result<Rendered, String>> {
    let request = |(chart, values)| json!({"chart": chart, "values": values, "release": RELEASE});
    answers(cases.into_iter().map(request).collect())
}

/// What Helm 4 makes of a chart as a release of this name, or why it refuses it.
pub fn render_as(release: &str, chart: &Path, values: &Value) -> Result<Rendered, String> {
    answers(json!([{"chart": chart, "values": values, "release": release}])).remove(0)
}

fn answers(requests: Value) -> Vec<Result<Rendered, String>> {
    let Value::Array(answers) = tool("render", &requests) else { panic!("a list") };
    let text = |answer: &Value, name: &str| answer[name].as_str().expect("text").to_owned();
    let read = |answer: Value| match answer.get("error") {
        Some(error) => Err(error.as_str().expect("text").to_owned()),
        None => Ok(Rendered {
            text: text(&answer, "text"),
            objects: answer["objects"].as_array().expect("a list").clone(),
            notes: text(&answer, "notes"),
        }),
    };
    answers.into_iter().map(read).collect()
}

/// What Helm 4 makes of a chart with values that it takes.
pub fn render(chart: &PathBuf, values: &Value) -> Rendered {
    render_all([(chart, values)]).remove(0).unwrap_or_else(|error| panic!("{}: {error}", chart.display()))
}

/// Every case with what Helm 4 makes of it.
pub fn rendered_cases() -> Vec<(Case, Rendered)> {
    let cases = cases();
    let rendered = render_all(cases.iter().map(|case| (&case.chart, &case.values)));
    let taken = |(case, rendered): (Case, Result<_, String>)| match rendered {
        Ok(rendered) => (case, rendered),
        Err(error) => panic!("{}: {error}", case.file.display()),
    };
    cases.into_iter().zip(rendered).map(taken).collect()
}

/// What the program of Helm 3.18 makes of a case for a version of Kubernetes.
pub fn render_with_helm_3(case: &Case, kubernetes: &str) -> Vec<Value> {
    let mut helm = Command::new(path(".tools/charts/programs/helm/helm"));
    helm.args(["template", RELEASE, "--namespace", NAMESPACE, "--kube-version", kubernetes]);
    objects(&output(helm.arg("--values").arg(&case.file).arg(&case.chart), ""))
}

/// What the program of Helm 3.18 makes of a chart, or why it refuses it.
pub fn render_values_with_helm_3(chart: &Path, values: &Value) -> Result<Vec<Value>, String> {
    let mut helm = Command::new(path(".tools/charts/programs/helm/helm"));
    helm.args(["template", RELEASE, "--namespace", NAMESPACE, "--kube-version", "1.35.0", "--values", "-"]);
    rendered_by(helm.arg(chart), values)
}

/// The same, while Helm can look up what is in a cluster.
pub fn render_with_cluster(chart: &Path, values: &Value, api_server: &str) -> Result<Vec<Value>, String> {
    let mut helm = Command::new(path(".tools/charts/programs/helm/helm"));
    helm.args(["template", RELEASE, "--namespace", NAMESPACE, "--kube-version", "1.35.0", "--values", "-"]);
    helm.args(["--dry-run=server", "--kube-apiserver", api_server]).env("KUBECONFIG", "/dev/null");
    rendered_by(helm.arg(chart), values)
}

fn rendered_by(helm: &mut Command, values: &Value) -> Result<Vec<Value>, String> {
    let output = run(helm, &values.to_string());
    match output.status.success() {
        true => Ok(objects(&String::from_utf8_lossy(&output.stdout))),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The first object of a kind.
pub fn of_kind(objects: &[Value], kind: &str) -> Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("a {kind}")).clone()
}

/// Packages a chart as Helm does it for a registry, and answers where the package is.
pub fn package(chart: &Path, into: &Path) -> PathBuf {
    let mut helm = Command::new(path(".tools/charts/programs/helm/helm"));
    let said = output(helm.arg("package").arg(chart).arg("--destination").arg(into), "");
    let file = said.split_once("saved it to: ").expect("a package").1;
    PathBuf::from(file.lines().next().expect("a path"))
}

/// What kubectl makes of a kustomization.
pub fn kustomize(directory: &Path) -> Vec<Value> {
    objects(&output(
        Command::new(path(".tools/charts/programs/kubectl/kubectl")).arg("kustomize").arg(directory),
        "",
    ))
}

/// The objects of a YAML stream.
pub fn objects(text: &str) -> Vec<Value> {
    tool("objects", &json!(text)).as_array().expect("a list").clone()
}

/// What Helm's own check finds.
pub fn lint(charts: &[PathBuf]) -> Vec<String> {
    strings(&tool("lint", &json!(charts)))
}

/// What is wrong with objects of Kubernetes itself.
pub fn validate(objects: &[Value], versions: &[&str]) -> Vec<String> {
    strings(&tool("validate", &json!({"objects": objects, "versions": versions})))
}

/// What is wrong with custom resources: the compiler knows every field, and the schemas' patterns judge their values.
pub fn validate_custom_resources(objects: &[Value]) -> Result<(), String> {
    let packages = [
        ("monitoring.coreos.com/", "prometheus-operator"),
        ("gateway.networking.k8s.io/", "gateway-api"),
        ("grafana.integreatly.org/", "grafana-operator"),
        ("autoscaling.k8s.io/", "autoscaler"),
    ];
    let check = |(number, object): (usize, &Value)| {
        let (version, kind) =
            (object["apiVersion"].as_str().expect("text"), object["kind"].as_str().expect("text"));
        let package = packages.iter().find(|(group, _)| version.starts_with(group)).expect("a known group").1;
        format!(
            "import {{ {kind} as Class{number}, type I{kind} as Type{number} }} from \"@kubernetes-models/{package}/{version}/{kind}\";\n\
             const object{number}: Type{number} = {object};\nnew Class{number}(object{number}).validate();\n"
        )
    };
    let program: String = objects.iter().enumerate().map(check).collect();
    // Modules are looked for beside and above the program.
    let directory = path(&format!(".tools/charts/check-{}", std::process::id()));
    fs::create_dir_all(&directory)
        .and_then(|()| fs::write(directory.join("check.ts"), program))
        .expect("a file");
    let compile = Command::new(path(".tools/charts/node_modules/.bin/tsc"))
        .args(["--skipLibCheck", "--module", "nodenext", "--target", "es2022", "check.ts"])
        .current_dir(&directory)
        .output()
        .expect("it runs");
    let run = Command::new("node").arg("check.js").current_dir(&directory).output().expect("it runs");
    fs::remove_dir_all(&directory).expect("a directory of ours");
    match compile.status.success() && run.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&[compile.stdout, run.stderr].concat()).into_owned()),
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("text").to_owned()).collect()
}

fn tool(command: &str, input: &Value) -> Value {
    let mut python = Command::new("python3");
    python.arg(path("tests/charts/tools.py")).arg(command).env("PYTHONPATH", path(".tools/charts/python"));
    serde_json::from_str(&output(&mut python, &input.to_string())).expect("JSON")
}

fn output(command: &mut Command, input: &str) -> String {
    let output = run(command, input);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn run(command: &mut Command, input: &str) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap_or_else(|error| {
        panic!("{command:?} cannot be started; tests/run installs what is missing: {error}")
    });
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("a program that reads");
    child.wait_with_output().expect("output")
}
