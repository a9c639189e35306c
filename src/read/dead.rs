//! Checks what readers reported to be dead.

use crate::{
    model::error::Result,
    num,
    read::{
        edges::EdgeTable,
        merge::{STALL, Step},
        range::KeyTable,
        scan::KindTable,
        walk::Ordered,
    },
    state::{State, dead::DeadRun},
};

/// What is left of a reported run in a state: the part from its beginning that
/// is dead, and the part that is not yet known, since only about `most` keys are
/// walked over.
pub(crate) fn check(
    state: &State,
    run: &DeadRun,
    most: usize,
) -> Result<(DeadRun, Option<DeadRun>)> {
    match run {
        DeadRun::Keys(start, end) => {
            let table = KeyTable::between(state, start, end);
            let (at, known) = walk(&table, most)?;
            let stop = at.map_or_else(|| end.clone(), |at| at.into());
            let rest = (!known).then(|| DeadRun::Keys(stop.clone(), end.clone()));
            Ok((DeadRun::Keys(start.clone(), stop), rest))
        }
        DeadRun::Kinds(start, end) => {
            let (at, known) = walk(&KindTable::between(state, *start, *end), most)?;
            let stop = at.unwrap_or(*end);
            Ok((DeadRun::Kinds(*start, stop), (!known).then_some(DeadRun::Kinds(stop, *end))))
        }
        DeadRun::Out(start, end) => {
            let (at, known) = walk(&EdgeTable::between(state, *start, *end, true), most)?;
            let stop = at.unwrap_or(*end);
            Ok((DeadRun::Out(*start, stop), (!known).then_some(DeadRun::Out(stop, *end))))
        }
        DeadRun::In(start, end) => {
            let (at, known) = walk(&EdgeTable::between(state, *start, *end, false), most)?;
            let stop = at.unwrap_or(*end);
            Ok((DeadRun::In(*start, stop), (!known).then_some(DeadRun::In(stop, *end))))
        }
    }
}

/// Walks to the first live key. Returns where it stopped, `None` at the end of
/// the table, and whether the table was looked at up to there and no further key
/// needs to be.
fn walk<T: Ordered>(table: &T, most: usize) -> Result<(Option<T::Place>, bool)> {
    let mut merge = table.begin(false, None);
    let mut walked = 0_usize;
    loop {
        match merge.next().transpose()? {
            None => return Ok((None, true)),
            Some(Step::Item(place, _)) => return Ok((Some(place), true)),
            Some(Step::Dead(place)) => {
                walked += 1;
                if walked * num::index(STALL) >= most {
                    return Ok((Some(place), false));
                }
                if let Some(from) = table.skip(place, false) {
                    merge = table.begin(false, Some(from));
                }
            }
        }
    }
}
