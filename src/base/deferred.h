/* Libraries that are loaded when they are first needed, and not when the program starts.
 *
 * The binary goes by many names and verbs, and most of them start, do one small thing and end: a container
 * that is launched by drover-oci must not wait 10 ms until the loader has bound some fifty libraries (libcurl
 * alone brings half of them) that only the server uses. So nothing of these is on the binary's own list:
 * their functions are weak, the loader binds each at its first call (which is why the binary is linked with
 * "-z lazy"), and by then deferred_need() has brought the library in.
 *
 * A module that owns a library calls deferred_need() before its first function of it: where it opens,
 * creates, begins. A function missing in the lists below is an error when the binary is linked: add it.
 * Only functions that are called, never variables, never a function's address.
 *
 * Unit tests are linked with the libraries in the common way. */
#ifndef BASE_DEFERRED_H
#define BASE_DEFERRED_H

enum deferred {
    DEFERRED_ARCHIVE,
    DEFERRED_CRYPT,
    DEFERRED_CURL,
    DEFERRED_FYAML,
    DEFERRED_GNUTLS,
    DEFERRED_MNL,
    DEFERRED_NFTABLES,
    DEFERRED_SQLITE,
    DEFERRED_COUNT,
};

/* Returns when the library's functions can be called, from any thread. A library that is not installed ends
 * the program with a message, as the loader would have done at its start. */
void deferred_need(enum deferred library);
/* Early, for a server: so that a broken installation shows at its start. */
void deferred_need_all(void);

/* archive */
#pragma weak archive_entry_clear
#pragma weak archive_entry_filetype
#pragma weak archive_entry_free
#pragma weak archive_entry_gid
#pragma weak archive_entry_hardlink
#pragma weak archive_entry_mtime
#pragma weak archive_entry_mtime_is_set
#pragma weak archive_entry_mtime_nsec
#pragma weak archive_entry_new
#pragma weak archive_entry_pathname
#pragma weak archive_entry_perm
#pragma weak archive_entry_set_gid
#pragma weak archive_entry_set_hardlink
#pragma weak archive_entry_set_mode
#pragma weak archive_entry_set_mtime
#pragma weak archive_entry_set_pathname
#pragma weak archive_entry_set_rdevmajor
#pragma weak archive_entry_set_rdevminor
#pragma weak archive_entry_set_size
#pragma weak archive_entry_set_symlink
#pragma weak archive_entry_set_uid
#pragma weak archive_entry_size
#pragma weak archive_entry_symlink
#pragma weak archive_entry_uid
#pragma weak archive_entry_xattr_add_entry
#pragma weak archive_entry_xattr_next
#pragma weak archive_entry_xattr_reset
#pragma weak archive_errno
#pragma weak archive_error_string
#pragma weak archive_filter_bytes
#pragma weak archive_filter_count
#pragma weak archive_read_data
#pragma weak archive_read_data_block
#pragma weak archive_read_free
#pragma weak archive_read_new
#pragma weak archive_read_next_header
#pragma weak archive_read_open
#pragma weak archive_read_open_fd
#pragma weak archive_read_support_filter_bzip2
#pragma weak archive_read_support_filter_gzip
#pragma weak archive_read_support_filter_xz
#pragma weak archive_read_support_filter_zstd
#pragma weak archive_read_support_format_empty
#pragma weak archive_read_support_format_raw
#pragma weak archive_read_support_format_tar
#pragma weak archive_set_error
#pragma weak archive_write_close
#pragma weak archive_write_data
#pragma weak archive_write_free
#pragma weak archive_write_header
#pragma weak archive_write_new
#pragma weak archive_write_open
#pragma weak archive_write_set_bytes_in_last_block
#pragma weak archive_write_set_bytes_per_block
#pragma weak archive_write_set_format_pax_restricted
#pragma weak archive_write_set_format_ustar
#pragma weak archive_write_set_options
/* crypt */
#pragma weak crypt_r
/* curl */
#pragma weak curl_easy_cleanup
#pragma weak curl_easy_getinfo
#pragma weak curl_easy_init
#pragma weak curl_easy_perform
#pragma weak curl_easy_reset
#pragma weak curl_easy_setopt
#pragma weak curl_easy_strerror
#pragma weak curl_global_init
#pragma weak curl_slist_append
#pragma weak curl_slist_free_all
/* fyaml */
#pragma weak fy_diag_cfg_default
#pragma weak fy_diag_create
#pragma weak fy_diag_destroy
#pragma weak fy_diag_errors_iterate
#pragma weak fy_diag_got_error
#pragma weak fy_diag_set_collect_errors
#pragma weak fy_parser_create
#pragma weak fy_parser_destroy
#pragma weak fy_parser_event_free
#pragma weak fy_parser_parse
#pragma weak fy_parser_set_string
#pragma weak fy_scalar_token_get_style
#pragma weak fy_token_get_text
#pragma weak fy_token_start_mark
/* gnutls */
#pragma weak gnutls_aead_cipher_decrypt
#pragma weak gnutls_aead_cipher_deinit
#pragma weak gnutls_aead_cipher_encrypt
#pragma weak gnutls_aead_cipher_init
#pragma weak gnutls_alpn_set_protocols
#pragma weak gnutls_base64_decode2
#pragma weak gnutls_base64_encode2
#pragma weak gnutls_bye
#pragma weak gnutls_certificate_allocate_credentials
#pragma weak gnutls_certificate_free_credentials
#pragma weak gnutls_certificate_get_peers
#pragma weak gnutls_certificate_server_set_request
#pragma weak gnutls_certificate_set_x509_crl_file
#pragma weak gnutls_certificate_set_x509_key_file
#pragma weak gnutls_certificate_set_x509_system_trust
#pragma weak gnutls_certificate_set_x509_trust_file
#pragma weak gnutls_certificate_verify_peers2
#pragma weak gnutls_credentials_set
#pragma weak gnutls_deinit
#pragma weak gnutls_error_is_fatal
#pragma weak gnutls_handshake
#pragma weak gnutls_hash
#pragma weak gnutls_hash_copy
#pragma weak gnutls_hash_deinit
#pragma weak gnutls_hash_fast
#pragma weak gnutls_hash_init
#pragma weak gnutls_hmac_fast
#pragma weak gnutls_init
#pragma weak gnutls_priority_deinit
#pragma weak gnutls_priority_init
#pragma weak gnutls_priority_set
#pragma weak gnutls_priority_set_direct
#pragma weak gnutls_pubkey_deinit
#pragma weak gnutls_pubkey_export2
#pragma weak gnutls_pubkey_export_ecc_raw2
#pragma weak gnutls_pubkey_get_key_id
#pragma weak gnutls_pubkey_get_pk_algorithm
#pragma weak gnutls_pubkey_import
#pragma weak gnutls_pubkey_import_x509
#pragma weak gnutls_pubkey_import_x509_crq
#pragma weak gnutls_pubkey_init
#pragma weak gnutls_pubkey_verify_data2
#pragma weak gnutls_record_check_pending
#pragma weak gnutls_record_get_direction
#pragma weak gnutls_record_recv
#pragma weak gnutls_record_send
#pragma weak gnutls_rnd
#pragma weak gnutls_server_name_set
#pragma weak gnutls_session_set_verify_cert
#pragma weak gnutls_set_default_priority
#pragma weak gnutls_strerror
#pragma weak gnutls_transport_set_int2
#pragma weak gnutls_transport_set_ptr
#pragma weak gnutls_transport_set_pull_function
#pragma weak gnutls_transport_set_push_function
#pragma weak gnutls_x509_crl_deinit
#pragma weak gnutls_x509_crl_export2
#pragma weak gnutls_x509_crl_init
#pragma weak gnutls_x509_crl_iter_crt_serial
#pragma weak gnutls_x509_crl_iter_deinit
#pragma weak gnutls_x509_crl_list_import2
#pragma weak gnutls_x509_crl_set_crt_serial
#pragma weak gnutls_x509_crl_set_next_update
#pragma weak gnutls_x509_crl_set_number
#pragma weak gnutls_x509_crl_set_this_update
#pragma weak gnutls_x509_crl_set_version
#pragma weak gnutls_x509_crl_sign2
#pragma weak gnutls_x509_crq_deinit
#pragma weak gnutls_x509_crq_export2
#pragma weak gnutls_x509_crq_import
#pragma weak gnutls_x509_crq_init
#pragma weak gnutls_x509_crq_set_key
#pragma weak gnutls_x509_crq_set_version
#pragma weak gnutls_x509_crq_sign2
#pragma weak gnutls_x509_crq_verify
#pragma weak gnutls_x509_crt_check_issuer
#pragma weak gnutls_x509_crt_deinit
#pragma weak gnutls_x509_crt_export2
#pragma weak gnutls_x509_crt_get_activation_time
#pragma weak gnutls_x509_crt_get_ca_status
#pragma weak gnutls_x509_crt_get_dn_by_oid
#pragma weak gnutls_x509_crt_get_dn_oid
#pragma weak gnutls_x509_crt_get_expiration_time
#pragma weak gnutls_x509_crt_get_key_id
#pragma weak gnutls_x509_crt_get_key_usage
#pragma weak gnutls_x509_crt_get_pk_algorithm
#pragma weak gnutls_x509_crt_get_raw_dn
#pragma weak gnutls_x509_crt_get_serial
#pragma weak gnutls_x509_crt_import
#pragma weak gnutls_x509_crt_init
#pragma weak gnutls_x509_crt_set_activation_time
#pragma weak gnutls_x509_crt_set_basic_constraints
#pragma weak gnutls_x509_crt_set_dn_by_oid
#pragma weak gnutls_x509_crt_set_expiration_time
#pragma weak gnutls_x509_crt_set_key
#pragma weak gnutls_x509_crt_set_key_purpose_oid
#pragma weak gnutls_x509_crt_set_key_usage
#pragma weak gnutls_x509_crt_set_pubkey
#pragma weak gnutls_x509_crt_set_serial
#pragma weak gnutls_x509_crt_set_subject_alt_name
#pragma weak gnutls_x509_crt_set_version
#pragma weak gnutls_x509_crt_sign2
#pragma weak gnutls_x509_crt_verify
#pragma weak gnutls_x509_privkey_deinit
#pragma weak gnutls_x509_privkey_export2
#pragma weak gnutls_x509_privkey_generate
#pragma weak gnutls_x509_privkey_get_key_id
#pragma weak gnutls_x509_privkey_import
#pragma weak gnutls_x509_privkey_init
/* mnl */
#pragma weak mnl_attr_get_payload
#pragma weak mnl_attr_get_payload_len
#pragma weak mnl_attr_get_str
#pragma weak mnl_attr_get_type
#pragma weak mnl_attr_get_u16
#pragma weak mnl_attr_get_u32
#pragma weak mnl_attr_get_u8
#pragma weak mnl_attr_nest_end
#pragma weak mnl_attr_nest_start
#pragma weak mnl_attr_next
#pragma weak mnl_attr_ok
#pragma weak mnl_attr_put
#pragma weak mnl_attr_put_strz
#pragma weak mnl_attr_put_u32
#pragma weak mnl_attr_put_u8
#pragma weak mnl_cb_run
#pragma weak mnl_nlmsg_get_payload
#pragma weak mnl_nlmsg_get_payload_offset
#pragma weak mnl_nlmsg_get_payload_tail
#pragma weak mnl_nlmsg_next
#pragma weak mnl_nlmsg_ok
#pragma weak mnl_nlmsg_put_extra_header
#pragma weak mnl_nlmsg_put_header
#pragma weak mnl_socket_bind
#pragma weak mnl_socket_close
#pragma weak mnl_socket_get_portid
#pragma weak mnl_socket_open2
#pragma weak mnl_socket_recvfrom
#pragma weak mnl_socket_sendto
/* nftables */
#pragma weak nft_ctx_buffer_error
#pragma weak nft_ctx_buffer_output
#pragma weak nft_ctx_free
#pragma weak nft_ctx_get_error_buffer
#pragma weak nft_ctx_get_output_buffer
#pragma weak nft_ctx_new
#pragma weak nft_ctx_output_set_flags
#pragma weak nft_run_cmd_from_buffer
/* sqlite3 */
#pragma weak sqlite3_bind_blob64
#pragma weak sqlite3_bind_double
#pragma weak sqlite3_bind_int64
#pragma weak sqlite3_bind_null
#pragma weak sqlite3_bind_parameter_count
#pragma weak sqlite3_bind_text64
#pragma weak sqlite3_bind_zeroblob
#pragma weak sqlite3_busy_timeout
#pragma weak sqlite3_changes64
#pragma weak sqlite3_clear_bindings
#pragma weak sqlite3_close
#pragma weak sqlite3_column_blob
#pragma weak sqlite3_column_bytes
#pragma weak sqlite3_column_count
#pragma weak sqlite3_column_double
#pragma weak sqlite3_column_int64
#pragma weak sqlite3_column_text
#pragma weak sqlite3_column_type
#pragma weak sqlite3_db_config
#pragma weak sqlite3_db_filename
#pragma weak sqlite3_errmsg
#pragma weak sqlite3_errstr
#pragma weak sqlite3_exec
#pragma weak sqlite3_file_control
#pragma weak sqlite3_finalize
#pragma weak sqlite3_get_autocommit
#pragma weak sqlite3_limit
#pragma weak sqlite3_open_v2
#pragma weak sqlite3_prepare_v3
#pragma weak sqlite3_progress_handler
#pragma weak sqlite3_reset
#pragma weak sqlite3_set_authorizer
#pragma weak sqlite3_step
#pragma weak sqlite3_stmt_busy
#pragma weak sqlite3_stmt_readonly
#pragma weak sqlite3_system_errno
#pragma weak sqlite3_total_changes64

#endif
