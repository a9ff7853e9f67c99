//! Scheduled tasks: deletions, edits, reactivations.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use skytide_core::id::Tid;

use super::accounts::RecordClass;

/// A task that an account will perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Deletes a record.
    Delete {
        account: u32,
        class: ClassNumber,
        tid: Tid,
    },
    /// Edits a post.
    Edit { account: u32, tid: Tid },
    /// Becomes active again.
    Reactivate { account: u32 },
}

/// A record class as an index of [`DELETED_CLASSES`]. Unlike [`RecordClass`], it has an order, so
/// that tasks can be compared.
pub(crate) type ClassNumber = u8;

/// The classes of records that accounts delete.
const DELETED_CLASSES: [RecordClass; 5] = [
    RecordClass::Like,
    RecordClass::Repost,
    RecordClass::Post,
    RecordClass::Follow,
    RecordClass::Block,
];

/// The number of a class; `None` if accounts never delete records of this class.
pub(crate) fn class_number(class: RecordClass) -> Option<ClassNumber> {
    DELETED_CLASSES
        .iter()
        .position(|&other| other == class)
        .map(|index| index as u8)
}

pub(crate) fn class_from_number(number: ClassNumber) -> RecordClass {
    DELETED_CLASSES[usize::from(number)]
}

/// Tasks in the order of their times; tasks of the same time in the order of scheduling.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// Time, sequence number and task.
    tasks: BinaryHeap<Reverse<(u64, u64, Task)>>,
    /// Number of tasks that were ever added.
    added: u64,
}

impl Schedule {
    /// Schedules a task for a moment (microseconds since 1970).
    pub(crate) fn add(&mut self, at: u64, task: Task) {
        self.added += 1;
        self.tasks.push(Reverse((at, self.added, task)));
    }

    /// Removes and returns the next task, if it is due.
    pub(crate) fn due(&mut self, now: u64) -> Option<Task> {
        let Reverse((at, ..)) = self.tasks.peek()?;
        if *at > now {
            return None;
        }
        self.tasks.pop().map(|Reverse((.., task))| task)
    }
}
