//! The runtime on a real engine: `cargo test -p runtime-docker --features engine-tests`.
//!
//! A harness of its own, because what the tests made on the engine must go when the last of them has ended, whatever
//! became of it.

#![expect(
    clippy::unwrap_used,
    reason = "a test of a harness without attributes: a panic is its failure"
)]

mod images;
mod isolation;
mod life;
mod link;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use self::world::World;

/// A test as a trial: the name is the function's.
macro_rules! trials {
    ($runtime:ident, $world:ident: $($module:ident::$test:ident),* $(,)?) => {
        vec![$({
            let (runtime, world) = ($runtime.clone(), $world.clone());
            Trial::test(concat!(stringify!($module), "::", stringify!($test)), move || {
                runtime.block_on($module::$test(world));
                Ok(())
            })
        }),*]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // An engine under load answers late; two at once keep it busy enough.
    arguments.test_threads.get_or_insert(2);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let runtime = Arc::new(runtime);
    let world = Arc::new(runtime.block_on(World::new()));
    let trials = trials!(runtime, world:
        images::a_missing_image_is_named_quickly_with_a_hint,
        images::a_second_preparation_is_the_same_and_quick,
        images::preparations_at_once_derive_one_image,
        images::a_missing_or_empty_toolbox_is_a_clear_error,
        images::a_replaced_toolbox_is_filled_anew_and_the_old_one_is_stale,
        images::a_removed_derived_image_is_said_to_be_missing,
        images::only_derived_images_that_nobody_wants_are_stale,
        images::what_only_bears_a_helpers_name_is_never_removed,
        isolation::a_sealed_session_sees_only_what_it_should,
        isolation::limits_are_in_force,
        isolation::nothing_of_an_image_takes_part_in_the_launch,
        isolation::an_open_session_has_a_network,
        isolation::a_workspace_of_the_host_is_shared,
        life::an_engine_that_is_up_tells_its_version,
        life::a_second_launch_leaves_the_first_alone,
        life::a_failed_launch_leaves_nothing,
        life::states_are_told_apart,
        life::lack_of_memory_is_told,
        life::owned_things_are_listed_once,
        life::removing_is_idempotent_and_complete,
        life::a_renamed_container_is_removed_with_its_storage,
        life::what_is_not_ours_is_not_removed,
        life::removals_at_once_agree,
        life::events_are_told_from_the_moment_of_asking,
        life::diagnostics_are_bounded,
        link::a_bridge_carries_any_bytes_both_ways,
        link::ending_one_direction_leaves_the_other_open,
        link::a_bridge_needs_a_container_that_runs,
    );
    let filled = runtime.block_on(runtime.spawn({
        let world = world.clone();
        async move { world.fill().await }
    }));
    let failed = filled.is_err() || libtest_mimic::run(&arguments, trials).has_failed();
    runtime.block_on(world.destroy());
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
