//! The suite that every storage must pass. See [`crate::conformance!`] for how a storage is put through it.

pub mod accept;
pub mod action_log;
pub mod api_keys;
pub mod backlog;
pub mod desks;
pub mod elsewhere;
pub mod external;
pub mod follow;
pub mod history;
pub mod inbox;
pub mod journal;
pub mod keys;
pub mod large;
pub mod leases;
pub mod lists;
pub mod parking;
pub mod pull;
pub mod reads;
pub mod redrives;
pub mod rig;
pub mod round_trip;
pub mod scope;
pub mod secrets;
pub mod store_history;
pub mod stores;
pub mod traces;
pub mod webhook_again;
pub mod webhook_endpoints;
pub mod webhooks;
pub mod work;

pub use rig::{Fixture, Rig, released};

/// Makes one test of each case of the suite, run against the storage that `$make` gives: an `async fn` without
/// arguments that returns a fresh, empty `Box<dyn Fixture>` for each case.
///
/// The crate that calls it needs `tokio` with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! conformance {
    ($make:path) => {
        $crate::conformance! { @cases $make;
            accept {
                an_accept_writes_order_event_and_work_together,
                a_commit_says_what_it_came_to,
                a_batch_is_all_there_or_not_at_all,
                a_command_that_is_refused_as_data_fails_alone,
                a_rejected_command_writes_nothing_and_its_neighbours_do,
                one_reference_makes_one_order_however_many_ask_at_once,
                orders_without_a_reference_are_all_new_and_numbers_rise,
                a_duplicate_is_told_what_differs,
                equal_by_value_is_no_difference,
                a_duplicate_is_measured_against_the_order_as_it_is_now,
                duplicates_within_one_batch_are_found,
            }
            keys {
                a_key_makes_a_retry_harmless,
                a_key_stands_for_what_was_sent_first,
                a_key_may_not_name_two_references,
                a_key_names_no_content_that_was_sent_before,
                a_key_is_recorded_for_equal_duplicates_only,
                keys_are_scoped_by_tenant_and_route,
                a_sweep_takes_the_oldest_keys,
            }
            inbox {
                a_message_changes_its_order_once,
                a_message_that_is_refused_is_not_remembered,
                a_message_and_its_change_are_committed_together,
                messages_are_scoped_by_tenant_and_consumer,
                one_message_that_comes_many_times_at_once_counts_once,
                a_batch_may_hold_one_message_twice,
                a_sweep_forgets_the_oldest_messages,
                whoever_knows_the_id_of_an_order_finds_its_owner,
            }
            api_keys {
                an_api_key_is_kept_as_it_was_made,
                a_rotated_api_key_opens_with_both_secrets_for_a_while,
                a_revoked_api_key_has_ended_for_ever,
                an_expired_api_key_has_ended,
                another_tenants_api_key_is_unknown,
                api_keys_are_listed_the_newest_first,
                a_touch_notes_the_latest_use,
                a_tenant_has_room_for_so_many_api_keys,
            }
            secrets {
                a_named_secret_is_made_once,
                without_keys_no_secret_is_kept,
                a_secret_that_was_moved_to_another_row_does_not_open,
                secrets_are_counted_by_their_keys,
                secrets_under_other_keys_are_read_in_pages,
                what_changed_meanwhile_is_not_replaced,
                a_key_is_replaced_while_secrets_are_made,
            }
            action_log {
                a_deed_and_its_row_are_committed_together,
                a_deed_that_is_rejected_or_changes_nothing_leaves_no_row,
                what_people_and_keys_do_is_recorded_and_nothing_else,
                each_tenant_has_its_own_rows,
                the_chain_is_one_however_many_act_at_once,
            }
            work {
                claims_take_what_is_due_in_the_order_of_its_due_time,
                a_lease_is_seen_on_its_order_and_runs_out,
                a_lease_begins_no_earlier_than_its_order_was_accepted,
                concurrent_claims_never_overlap,
                finished_work_is_gone_and_told_once,
                a_late_finish_counts_while_nobody_else_claimed,
                a_token_is_worthless_once_somebody_else_claimed,
                a_change_that_requeues_takes_the_lease_away,
                an_erasure_takes_the_lease_away_and_uses_up_nothing,
                a_change_that_does_not_requeue_leaves_the_lease,
                a_revision_makes_work_when_asked_and_names_what_comes_next,
                a_heartbeat_extends_what_is_held_and_names_what_is_lost,
                lapses_use_up_no_attempt_and_ten_in_a_row_park,
                a_try_that_ended_clears_the_lapses,
                retry_park_and_redrive_keep_the_budget,
                a_release_uses_up_nothing,
                one_batch_may_claim_settle_and_claim_again,
            }
            journal {
                positions_and_versions_are_gapless_under_concurrent_writers,
                one_batch_may_write_many_events_of_one_shard,
                the_journal_is_read_in_pages,
                marks_tell_of_the_same_events,
                an_event_carries_what_happened,
                an_order_equals_the_fold_of_its_events_after_every_change,
                changes_that_change_nothing_write_nothing,
                an_erasure_blanks_order_and_journal_in_place,
            }
            round_trip {
                amounts_keep_every_digit,
                texts_keep_every_character,
                identities_are_compared_byte_by_byte,
                attributes_are_kept_verbatim,
                what_is_missing_stays_missing,
                many_lines_are_kept_in_order,
                moments_keep_their_microseconds,
                later_texts_keep_every_character,
                a_reference_is_found_again_whatever_it_holds,
            }
            reads {
                lists_filter_and_page_as_looking_at_every_order_does,
                a_rare_match_is_found_page_by_page,
                an_order_is_found_by_its_number,
                tenants_are_apart_in_every_read_and_change,
                a_change_within_one_source_does_not_reach_another,
                the_tally_is_what_counting_gives,
                an_order_is_read_with_its_work_and_its_newest_events,
            }
            lists {
                a_search_finds_what_looking_at_every_order_does,
                a_revised_order_is_found_by_what_it_is_now,
                orders_are_listed_by_when_they_were_accepted,
                a_moment_leads_to_its_place_in_the_journal,
                who_reads_on_misses_no_change,
                readers_beside_writers_miss_no_change,
                what_changed_is_filtered_as_it_is_now,
            }
            large {
                pages_of_large_orders_end_when_they_are_full,
                slices_come_in_a_page_that_ends_when_it_is_full,
                events_are_found_at_their_places_until_a_page_is_full,
                a_claim_of_large_orders_leases_fewer_and_the_rest_stays_due,
                the_events_of_an_order_come_in_pages,
                an_erasure_names_what_it_blanked_and_is_told_once,
                a_tracking_number_may_be_told_later,
            }
            scope {
                a_search_by_id_walks_along_ones_own_ids_alone,
                a_list_is_as_long_as_ones_own_orders,
            }
            pull {
                a_claim_of_one_tenant_takes_its_work_alone,
                work_of_many_tenants_is_claimed_in_order,
                claims_of_several_tenants_never_overlap,
                what_is_parked_keeps_nobody_from_what_is_due_behind_it,
                what_a_try_outside_comes_to_is_decided_as_here,
                results_that_come_together_count_each_for_itself,
            }
            follow {
                a_follower_is_made_once_and_begins_where_it_is_told,
                a_cursor_moves_from_where_it_is_or_not_at_all,
                racing_runners_lose_nothing,
                events_of_other_sources_are_passed_over,
                a_failing_sink_gets_the_same_again,
                a_paused_follower_stays_where_it_is,
                a_replay_goes_on_from_another_place,
                a_late_advance_does_not_undo_a_replay,
                a_range_is_carried_on_once_more,
                a_range_holds_what_was_carried_on,
                a_replay_of_a_range_moves_beside_the_cursor,
                every_version_of_every_order_arrives_in_order,
            }
            leases {
                nodes_share_a_follower_out,
                concurrent_shares_never_overlap,
                a_lost_lease_moves_nothing,
                a_lease_is_extended_and_given_up,
                what_ails_a_follower_is_seen_everywhere,
                two_nodes_carry_everything_once_and_in_order,
                a_delivery_that_outlasts_its_lease_keeps_it,
                a_node_that_wakes_too_late_stops,
                a_node_whose_sink_takes_nothing_leaves_its_part_to_another,
                a_node_that_cannot_open_its_sink_takes_nothing_from_one_that_can,
            }
            parking {
                a_refused_event_holds_its_order_alone_until_it_is_redriven,
                a_skipped_event_is_left_out,
                what_is_on_its_way_may_be_skipped_too,
                as_many_orders_are_parked_as_may_be,
                a_replay_passes_parked_orders,
                what_is_redriven_goes_on_in_steps,
                large_orders_are_redriven_a_few_at_a_time,
                parked_orders_are_listed_in_pages_and_moved_from_where_they_are,
            }
            redrives {
                a_job_goes_on_in_steps_across_a_restart,
                a_job_of_named_orders_answers_for_each,
                filters_narrow_jobs_and_counts,
                named_orders_are_narrowed_by_the_other_conditions,
                what_a_list_shows_is_what_a_job_takes,
                a_foreign_order_is_unknown_whatever_its_error_says,
                unknown_jobs_are_refused,
            }
            desks {
                a_claim_takes_from_its_desks_alone,
                what_is_due_next_is_known_of_each_desk,
                work_that_is_made_anew_lies_at_its_desk,
                much_at_one_desk_hides_nothing_at_another,
                claims_of_several_desks_never_overlap,
            }
            elsewhere {
                work_that_was_done_elsewhere_ends_without_a_lease,
                an_order_may_be_withdrawn_as_it_is_taken_in,
            }
            external {
                the_newest_order_with_an_external_id_is_found,
                an_external_id_leads_to_who_bears_it_now,
            }
            stores {
                a_store_is_kept_as_it_was_registered,
                access_tokens_come_under_another_key,
                stores_are_listed_the_oldest_first,
                an_import_is_kept_with_what_came_of_it,
                one_receipt_is_imported_by_one_however_many_begin_at_once,
                a_late_end_of_an_import_changes_nothing,
                a_sync_takes_what_is_due_and_tells_what_it_did,
                what_happens_to_a_store_reaches_who_listens,
                a_store_is_synced_by_one_at_a_time,
                the_imports_and_syncs_of_a_dead_process_come_due,
                the_audit_is_clean_of_a_store_that_trades,
                a_page_of_orders_is_noted_and_its_place_kept,
                stores_that_are_to_be_synced_are_found,
                imports_are_listed_and_found_by_their_receipt,
                a_budget_gives_no_more_than_it_holds_however_many_ask_at_once,
            }
            store_history {
                what_is_old_of_stores_is_forgotten_but_the_newest,
                a_store_goes_on_behind_what_was_forgotten,
                what_is_heard_of_a_store_is_looked_at_soon,
                what_is_to_be_tried_again_is_due_and_stays_as_it_was,
            }
            backlog {
                the_backlog_tells_what_is_due_leased_and_parked,
                the_backlog_tells_how_far_behind_followers_are,
                parts_are_there_before_they_are_needed,
            }
            traces {
                the_trace_of_a_request_travels_with_its_events_and_its_work,
                work_that_is_made_anew_is_of_the_trace_that_made_it,
            }
            webhooks {
                events_reach_those_who_listen_in_order_and_once,
                an_endpoint_hears_of_what_comes_after_it,
                one_event_of_an_order_is_on_its_way_at_a_time,
                raising_and_settling_lose_nothing_between_them,
                a_lease_that_was_lost_settles_nothing,
                what_is_not_taken_comes_again_by_the_schedule,
                out_of_attempts_the_stream_goes_on,
                an_endpoint_has_so_many_places_and_no_other_waits_for_it,
                an_endpoint_has_few_places_until_it_takes_something,
                claims_of_streams_never_overlap,
                a_rate_is_kept,
                a_restart_leaves_what_is_open_to_be_sent,
            }
            webhook_endpoints {
                an_endpoint_is_kept_as_it_was_made_and_changed,
                nobody_is_called_who_did_not_say_that_they_want_to_be,
                another_tenants_endpoint_is_unknown,
                a_secret_is_rotated_and_both_sign_for_a_day,
                a_receiver_that_is_gone_is_disabled_at_once_and_it_is_told,
                an_endpoint_that_takes_nothing_for_five_days_is_disabled,
                a_paused_endpoint_gets_everything_later,
                what_was_sent_can_be_sent_again,
                what_was_given_up_is_recovered,
                what_was_missed_is_made_up_for,
                an_erasure_blanks_what_receivers_answered,
                what_belongs_to_a_deleted_endpoint_goes,
                the_backlog_tells_what_waits_for_receivers,
            }
            webhook_again {
                a_try_keeps_the_url_that_was_called,
                nothing_is_sent_again_to_an_endpoint_that_is_disabled,
                what_was_missed_of_stores_is_made_up_for,
                an_organization_is_told_of_its_own_stores_alone,
                a_registration_keeps_its_secret_unless_another_is_said,
            }
            history {
                the_audit_is_clean_after_a_random_history,
                a_restart_changes_nothing,
                the_leases_of_a_dead_process_come_due,
            }
        }
    };
    (@cases $make:path; $($module:ident { $($case:ident),+ $(,)? })+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the factory may be named by its whole path")]
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$module::$case($crate::conformance::Rig::new($make().await)).await;
            })+
        })+
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_the_suite() {
        let list = include_str!("mod.rs");
        let files = [
            include_str!("accept.rs"),
            include_str!("action_log.rs"),
            include_str!("backlog.rs"),
            include_str!("api_keys.rs"),
            include_str!("desks.rs"),
            include_str!("elsewhere.rs"),
            include_str!("external.rs"),
            include_str!("follow.rs"),
            include_str!("history.rs"),
            include_str!("inbox.rs"),
            include_str!("journal.rs"),
            include_str!("keys.rs"),
            include_str!("large.rs"),
            include_str!("leases.rs"),
            include_str!("lists.rs"),
            include_str!("parking.rs"),
            include_str!("pull.rs"),
            include_str!("reads.rs"),
            include_str!("redrives.rs"),
            include_str!("round_trip.rs"),
            include_str!("scope.rs"),
            include_str!("stores.rs"),
            include_str!("secrets.rs"),
            include_str!("traces.rs"),
            include_str!("webhook_again.rs"),
            include_str!("webhook_endpoints.rs"),
            include_str!("webhooks.rs"),
            include_str!("work.rs"),
        ];
        let mut cases = 0;
        for line in files.iter().flat_map(|file| file.lines()) {
            let Some(case) = line.strip_prefix("pub async fn ").and_then(|rest| rest.split('(').next())
            else {
                continue;
            };
            cases += 1;
            assert!(list.contains(&format!("                {case},\n")), "{case} is never run");
        }
        assert!(cases > 60, "only {cases} cases were found");
    }
}
