//! Modes that hold for a while.

use portcullis_core::engine::TrialRefusal;
use portcullis_core::event::Mode;

use super::story::Story;
use super::{MINUTES, STRANGER, seconds};

#[test]
fn an_unconfirmed_trial_of_enforce_falls_back_and_lets_everybody_in() {
    let mut story = Story::new(Mode::Observe);
    story.engine.try_mode(story.now, Mode::Enforce, seconds(10 * MINUTES)).unwrap();
    assert!(story.scan(STRANGER, 1..=5)[0].contains("Block"));
    assert_eq!(story.pass(seconds(10 * MINUTES - 1)), [""; 0]);
    assert_eq!(
        story.pass(seconds(1)),
        ["release [198.51.100.7/32]", "unban 198.51.100.7/32 observing now", "trial over: observe"]
    );
    assert_eq!((story.engine.mode(), story.engine.trial(story.now)), (Mode::Observe, None));
}

#[test]
fn a_confirmed_trial_has_no_end() {
    for confirm in [
        |story: &mut Story| story.engine.keep_mode(),
        |story: &mut Story| {
            story.engine.set_mode(story.now, Mode::Enforce);
            true
        },
    ] {
        let mut story = Story::new(Mode::Observe);
        story.engine.try_mode(story.now, Mode::Enforce, seconds(60)).unwrap();
        assert!(confirm(&mut story));
        story.pass(seconds(3600));
        assert_eq!(story.engine.mode(), Mode::Enforce);
    }
}

#[test]
fn observing_for_an_hour_returns_by_itself() {
    let mut story = Story::new(Mode::Enforce);
    story.engine.try_mode(story.now, Mode::Observe, seconds(3600)).unwrap();
    assert!(story.scan(STRANGER, 1..=5)[0].contains("Observe"));
    let told = story.pass(seconds(3600));
    assert_eq!(told.last().unwrap(), "trial over: enforce");
    assert!(story.scan(STRANGER, 1..=5)[0].contains("Block"), "what he did before does not shield him");
}

#[test]
fn a_trial_lasts_longer_when_it_is_asked_for_again_and_ends_with_the_other_mode() {
    let mut story = Story::new(Mode::Observe);
    story.engine.try_mode(story.now, Mode::Enforce, seconds(60)).unwrap();
    story.pass(seconds(50));
    story.engine.try_mode(story.now, Mode::Enforce, seconds(60)).unwrap();
    story.pass(seconds(50));
    assert_eq!(story.engine.mode(), Mode::Enforce);
    story.engine.try_mode(story.now, Mode::Observe, seconds(60)).unwrap();
    story.pass(seconds(3600));
    assert_eq!(story.engine.mode(), Mode::Observe, "what was never confirmed does not come back by itself");
}

#[test]
fn a_mode_that_holds_is_not_put_on_trial() {
    for mode in [Mode::Observe, Mode::Enforce] {
        let mut story = Story::new(mode);
        let refused = story.engine.try_mode(story.now, mode, seconds(60));
        assert_eq!(refused.unwrap_err(), TrialRefusal::HoldsAlready);
        story.pass(seconds(3600));
        assert_eq!(story.engine.mode(), mode);
    }
}

#[test]
fn a_trial_goes_on_over_a_restart() {
    let mut story = Story::new(Mode::Enforce);
    story.engine.resume_trial(story.now, seconds(30));
    assert_eq!(story.engine.trial(story.now), Some((Mode::Observe, seconds(30))));
    story.pass(seconds(30));
    assert_eq!(story.engine.mode(), Mode::Observe);
}
