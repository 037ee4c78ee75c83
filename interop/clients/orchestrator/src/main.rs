//! Runs one workflow file with the published LLM Orchestrator library and prints what came of it as one JSON object.
//!
//!     orchestrator-client FILE INPUTS_JSON BASE_URL [ROUNDS]
//!
//! BASE_URL answers the protocols of OpenAI and Anthropic under /v1 and Qdrant's under /collections; `pinecone` is
//! that one too. Prints {"ok", "error", "steps": {id: result}, "metrics": text, "seconds"}; `seconds` is of all
//! ROUNDS (default 1), whose last result is printed. Exit status 1 when the file cannot be read as a workflow.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use llm_orchestrator_core::{metrics, StepResult, Workflow, WorkflowExecutor};
use llm_orchestrator_providers::{AnthropicProvider, OpenAIEmbeddingProvider, OpenAIProvider, QdrantClient};
use serde_json::{json, Value};

type Failure = Box<dyn std::error::Error>;

const CONCURRENCY: usize = 4; // as its own command line has it

/// Made once, so that connections are kept from round to round.
struct Providers {
    openai: Arc<OpenAIProvider>,
    anthropic: Arc<AnthropicProvider>,
    embeddings: Arc<OpenAIEmbeddingProvider>,
    vectors: Arc<QdrantClient>,
}

impl Providers {
    fn new(base: &str) -> Result<Self, Failure> {
        let key = || "sk-interop".to_string();
        let api = format!("{base}/v1");
        Ok(Self {
            openai: Arc::new(OpenAIProvider::with_base_url(key(), api.clone())?),
            anthropic: Arc::new(AnthropicProvider::with_base_url(key(), api.clone(), "2023-06-01".to_string())?),
            embeddings: Arc::new(OpenAIEmbeddingProvider::with_base_url(key(), api)?),
            vectors: Arc::new(QdrantClient::new(base.to_string(), None)?),
        })
    }
}

fn executor(workflow: &Workflow, inputs: &HashMap<String, Value>, p: &Providers) -> Result<WorkflowExecutor, Failure> {
    Ok(WorkflowExecutor::new(workflow.clone(), inputs.clone())?
        .with_max_concurrency(CONCURRENCY)
        .with_provider("openai", p.openai.clone())
        .with_provider("anthropic", p.anthropic.clone())
        .with_embedding_provider("openai", p.embeddings.clone())
        .with_vector_db("pinecone", p.vectors.clone())
        .with_vector_db("qdrant", p.vectors.clone()))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    if args.len() < 4 {
        return Err("usage: orchestrator-client FILE INPUTS_JSON BASE_URL [ROUNDS]".into());
    }
    let workflow: Workflow = serde_yaml::from_str(&std::fs::read_to_string(&args[1])?)?;
    let inputs: HashMap<String, Value> = serde_json::from_str(&args[2])?;
    let rounds: usize = args.get(4).map_or(Ok(1), |text| text.parse())?;
    let mut steps: HashMap<String, StepResult> = HashMap::new();
    let mut error = Value::Null;
    let providers = Providers::new(&args[3])?;
    let begin = Instant::now();
    for _ in 0..rounds {
        match executor(&workflow, &inputs, &providers)?.execute().await {
            Ok(results) => steps = results,
            Err(e) => error = json!(e.to_string()),
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let report = json!({"ok": error.is_null(), "error": error, "steps": steps, "metrics": metrics::gather_metrics(),
                        "seconds": seconds});
    println!("{report}");
    Ok(())
}
