//! The vectors that arguments give to a node.

use ingrain::{Snapshot, Space};

use super::once;
use crate::{
    args::{ContentArgs, VectorArg, VectorFrom},
    error::{CliError, Result},
    input, output, store,
    vectors::Vectors,
};

enum Source {
    Array(Vec<f32>),
    File(Vectors),
}

/// The vectors that arguments give, by their spaces.
pub(super) struct Given<'a>(Vec<(&'a str, Source)>);

impl<'a> Given<'a> {
    /// Opens the files. Standard input is read now, before the store is opened, since
    /// the program that writes it may have the store open.
    pub(super) fn open(args: &'a [VectorArg], content: &ContentArgs) -> Result<Self> {
        once(args.iter().map(|arg| arg.space.as_str()))?;
        let files = args.iter().map(|arg| match &arg.from {
            VectorFrom::File(path) => Some(path.as_path()),
            VectorFrom::Array(_) => None,
        });
        let all = files.chain([content.content_file.as_deref()]);
        input::one_dash(all, "standard input")?;
        let open = |arg: &'a VectorArg| {
            let source = match &arg.from {
                VectorFrom::Array(numbers) => Source::Array(numbers.clone()),
                VectorFrom::File(path) => {
                    let file = Vectors::open(path, "vector");
                    Source::File(file.map_err(|error| no_file(&arg.space, &error))?)
                }
            };
            Ok((arg.space.as_str(), source))
        };
        Ok(Self(args.iter().map(open).collect::<Result<_>>()?))
    }

    /// The vectors, each of which has as many numbers as its space wants.
    pub(super) fn read(self, snapshot: &Snapshot) -> Result<Vec<(&'a str, Vec<f32>)>> {
        let read = |(name, source)| {
            let (_, space) = store::space(snapshot, Some(name))?;
            Ok((name, vector(name, source, space)?))
        };
        self.0.into_iter().map(read).collect()
    }
}

/// A file that cannot be read may be an array without its brackets.
fn no_file(space: &str, error: &CliError) -> CliError {
    CliError::message(format!(
        "--vector {space}: {error}; an array of numbers has brackets, such as [0.1,0.9]"
    ))
}

fn vector(name: &str, source: Source, space: Space) -> Result<Vec<f32>> {
    let wrong = |what: &str| Err(CliError::message(format!("--vector {name}: {what}")));
    match source {
        Source::Array(numbers) if numbers.len() == space.dimension => Ok(numbers),
        Source::Array(numbers) => wrong(&format!(
            "it has {} numbers, vectors of space {name:?} have {}",
            numbers.len(),
            space.dimension
        )),
        Source::File(file) if file.count() > 1 => wrong(&format!(
            "the file holds {} vectors, and a node has one in a space; \"ingrain import --ids\" \
             gives vectors to many nodes",
            output::grouped(file.count())
        )),
        Source::File(mut file) => match file.some(0, name, space)?.pop() {
            Some(vector) => Ok(vector),
            None => wrong("the file holds no vector"),
        },
    }
}
