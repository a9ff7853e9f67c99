//! What will happen: undoing, editing, coming back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use skytide_core::id::Tid;

use super::cast::Class;

/// Something that an account will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Deletes a record.
    Undo {
        account: u32,
        class: ClassCode,
        tid: Tid,
    },
    /// Edits a post.
    Edit { account: u32, tid: Tid },
    /// Is active again.
    Return { account: u32 },
}

/// A class as a number, which has an order.
pub(crate) type ClassCode = u8;

/// The classes that can be undone.
const UNDONE: [Class; 5] = [
    Class::Like,
    Class::Repost,
    Class::Post,
    Class::Follow,
    Class::Block,
];

pub(crate) fn code(class: Class) -> Option<ClassCode> {
    UNDONE
        .iter()
        .position(|&other| other == class)
        .map(|place| place as u8)
}

pub(crate) fn class(code: ClassCode) -> Class {
    UNDONE[usize::from(code)]
}

/// Tasks by their time; those of the same time in the order in which they were planned.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    tasks: BinaryHeap<Reverse<(u64, u64, Task)>>,
    planned: u64,
}

impl Agenda {
    /// Plans a task for a moment (microseconds since 1970).
    pub(crate) fn plan(&mut self, at: u64, task: Task) {
        self.planned += 1;
        self.tasks.push(Reverse((at, self.planned, task)));
    }

    /// The next task that is due.
    pub(crate) fn due(&mut self, now: u64) -> Option<Task> {
        let Reverse((at, ..)) = self.tasks.peek()?;
        if *at > now {
            return None;
        }
        self.tasks.pop().map(|Reverse((.., task))| task)
    }
}
