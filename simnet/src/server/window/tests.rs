use super::*;

fn window(frames_max: usize, seqs: &[u64]) -> Window {
    let window = Window::new(Limits {
        frames_max,
        bytes_max: 1 << 20,
    });
    push(&window, seqs);
    window.caught_up();
    window
}

fn push(window: &Window, seqs: &[u64]) {
    for seq in seqs {
        window.push(*seq, vec![*seq as u8; 10].into());
    }
}

/// The result of seeking a cursor, and the sequence numbers of all frames read after it.
async fn read(window: &Window, cursor: Option<u64>) -> (&'static str, Vec<u8>) {
    let reader = window.reader();
    let found = match reader.seek(cursor).await {
        SeekResult::At(_) => "frames",
        SeekResult::Outdated(_) => "outdated",
        SeekResult::Future => "future",
    };
    let ReadResult::Frames(frames) = reader.next(100, 1_000, u64::MAX) else {
        panic!("too slow");
    };
    (
        found,
        frames.iter().map(|buffered| buffered.bytes[0]).collect(),
    )
}

#[tokio::test]
async fn a_cursor_is_exclusive_and_may_be_outdated_or_in_the_future() {
    let window = window(4, &[1, 2, 5, 6, 9, 10]);
    assert_eq!(read(&window, Some(6)).await, ("frames", vec![9, 10]));
    assert_eq!(read(&window, Some(7)).await, ("frames", vec![9, 10]));
    assert_eq!(read(&window, Some(10)).await, ("frames", vec![]));
    assert_eq!(read(&window, None).await, ("frames", vec![]));
    assert_eq!(read(&window, Some(0)).await, ("frames", vec![5, 6, 9, 10]));
    assert_eq!(read(&window, Some(2)).await, ("frames", vec![5, 6, 9, 10]));
    assert_eq!(
        read(&window, Some(1)).await,
        ("outdated", vec![5, 6, 9, 10])
    );
    assert_eq!(read(&window, Some(11)).await, ("future", vec![]));
}

#[tokio::test]
async fn a_frame_without_a_new_number_belongs_to_the_previous_frame() {
    let window = window(9, &[1, 2, 1, 2, 3]);
    assert_eq!(read(&window, Some(2)).await, ("frames", vec![3]));
    assert_eq!(read(&window, Some(1)).await, ("frames", vec![2, 1, 2, 3]));
    assert_eq!(read(&window, Some(3)).await, ("frames", vec![]));
}

#[tokio::test]
async fn the_frames_after_a_sent_error_frame_are_sent_once() {
    let window = window(9, &[1, 2, 2]);
    window.push(2, crate::error("InternalError", None, None).into());
    push(&window, &[2, 3]);
    assert_eq!(read(&window, Some(2)).await, ("frames", vec![3]));
    let reader = window.reader();
    reader.seek(Some(1)).await;
    let ReadResult::Frames(frames) = reader.next(9, 1_000, 9) else {
        panic!("too slow");
    };
    assert!(frames[2].is_error);
    reader.end_with_error(2);
    assert_eq!(read(&window, Some(2)).await, ("frames", vec![2, 3]));
    assert_eq!(read(&window, Some(3)).await, ("frames", vec![]));
}

#[tokio::test]
async fn after_a_restart_of_the_numbers_a_cursor_means_the_new_ones() {
    let window = window(9, &[70, 71, 72]);
    window.restart_numbering();
    push(&window, &[1, 2]);
    assert_eq!(read(&window, Some(1)).await, ("frames", vec![2]));
    assert_eq!(read(&window, Some(0)).await, ("frames", vec![1, 2]));
    assert_eq!(read(&window, Some(72)).await, ("future", vec![]));
    assert_eq!(window.size().newest_seq, 2);
}

#[tokio::test]
async fn while_catching_up_a_seek_waits_for_its_cursor() {
    let window = Window::new(Limits::default());
    window.skipped(5);
    let reader = window.reader();
    let seeking = reader.seek(Some(8));
    let pushing = async {
        for seq in 6..=9 {
            push(&window, &[seq]);
            tokio::task::yield_now().await;
        }
    };
    let (found, ()) = tokio::join!(seeking, pushing);
    assert_eq!(found, SeekResult::At(3));
    let read = reader.next(9, 100, 100);
    assert!(matches!(read, ReadResult::Frames(frames) if frames.len() == 1));
}

#[test]
fn there_is_room_until_the_slowest_reader_lags_by_half_the_window() {
    let window = window(8, &[]);
    push(&window, &[1, 2, 3]);
    assert!(window.has_room());
    push(&window, &[4]);
    assert!(
        !window.has_room(),
        "no reader has come yet, so no frame may be lost"
    );
    let (slow, fast) = (window.reader(), window.reader());
    assert!(window.has_room());
    push(&window, &[5, 6, 7, 8]);
    let _four = fast.next(4, 1_000, 100);
    assert!(!window.has_room());
    drop(fast);
    let _one = slow.next(1, 1_000, 100);
    assert!(window.has_room());
    drop(slow);
    push(&window, &[9]);
    assert!(!window.has_room(), "the reader that left may come back");
}

#[test]
fn a_reader_with_evicted_or_too_many_unread_frames_is_too_slow() {
    let window = window(4, &[]);
    let reader = window.reader();
    push(&window, &[1, 2, 3, 4]);
    assert!(matches!(reader.next(9, 1_000, 3), ReadResult::TooSlow));
    assert!(matches!(reader.next(1, 1_000, 4), ReadResult::Frames(_)));
    push(&window, &[5, 6]);
    assert!(matches!(reader.next(9, 1_000, 9), ReadResult::TooSlow));
}

#[test]
fn the_window_bounds_bytes() {
    let window = Window::new(Limits {
        frames_max: 100,
        bytes_max: 35,
    });
    push(&window, &[1, 2, 3, 4, 5]);
    let size = window.size();
    assert_eq!((size.frames, size.bytes), (3, 30));
}
