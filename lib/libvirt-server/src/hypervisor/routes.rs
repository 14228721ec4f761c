//! Which method answers which procedure.

use super::{Hypervisor, Refusal, Scope};
use libvirt_protocol::procedure::{Info, Procedure, Program};
use libvirt_protocol::{admin, lxc, qemu, remote, xdr};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Arguments in, result out, both encoded.
pub(super) type Handler = fn(&mut Hypervisor, &[u8]) -> Result<Vec<u8>, Refusal>;

macro_rules! routes {
    ($program:ident: $($procedure:ident => $method:ident;)*) => {
        [$((
            <$program::$procedure as Procedure>::INFO.number,
            |hypervisor, payload| {
                let args = xdr::decode(payload).map_err(|_| Refusal::arguments())?;
                let result: <$program::$procedure as Procedure>::Ret<'static> = hypervisor.$method(args)?;
                xdr::encode(&result).map_err(|error| Refusal::rpc(error.to_string()))
            },
        )),*]
    };
}

/// What libvirt's test driver can do.
const TEST_DRIVER: &[(i32, Handler)] = &routes! { remote:
    AuthList => auth_list;
    AuthPolkit => auth_polkit;
    AuthSaslInit => sasl_init;
    AuthSaslStart => sasl_start;
    AuthSaslStep => sasl_step;
    ConnectOpen => connect_open;
    ConnectClose => connect_close;
    ConnectSupportsFeature => connect_supports_feature;
    ConnectRegisterCloseCallback => register_close_callback;
    ConnectUnregisterCloseCallback => unregister_close_callback;
    ConnectGetType => connect_get_type;
    ConnectGetVersion => connect_get_version;
    ConnectGetLibVersion => connect_get_lib_version;
    ConnectGetHostname => connect_get_hostname;
    ConnectGetUri => connect_get_uri;
    ConnectIsSecure => connect_is_secure;
    ConnectGetMaxVcpus => connect_get_max_vcpus;
    ConnectGetSysinfo => connect_get_sysinfo;
    ConnectGetCapabilities => connect_get_capabilities;
    ConnectGetCpuModelNames => connect_get_cpu_model_names;
    NodeGetInfo => node_get_info;
    NodeGetFreeMemory => node_get_free_memory;
    NodeGetCellsFreeMemory => node_get_cells_free_memory;
    NodeGetFreePages => node_get_free_pages;
    NodeGetCpuMap => node_get_cpu_map;
    NodeGetCpuStats => node_get_cpu_stats;
    NodeGetSecurityModel => node_get_security_model;

    ConnectDomainEventRegister => domain_event_register;
    ConnectDomainEventDeregister => domain_event_deregister;
    ConnectDomainEventRegisterAny => domain_event_register_any;
    ConnectDomainEventDeregisterAny => domain_event_deregister_any;
    ConnectDomainEventCallbackRegisterAny => domain_event_callback_register_any;
    ConnectDomainEventCallbackDeregisterAny => domain_event_callback_deregister_any;
    ConnectNetworkEventRegisterAny => network_event_register_any;
    ConnectNetworkEventDeregisterAny => network_event_deregister_any;
    ConnectStoragePoolEventRegisterAny => storage_pool_event_register_any;
    ConnectStoragePoolEventDeregisterAny => storage_pool_event_deregister_any;
    ConnectNodeDeviceEventRegisterAny => node_device_event_register_any;
    ConnectNodeDeviceEventDeregisterAny => node_device_event_deregister_any;

    ConnectListAllDomains => list_all_domains;
    ConnectListDomains => list_domains;
    ConnectNumOfDomains => num_of_domains;
    ConnectListDefinedDomains => list_defined_domains;
    ConnectNumOfDefinedDomains => num_of_defined_domains;
    ConnectGetAllDomainStats => get_all_domain_stats;
    DomainLookupById => domain_lookup_by_id;
    DomainLookupByName => domain_lookup_by_name;
    DomainLookupByUuid => domain_lookup_by_uuid;
    DomainDefineXml => domain_define_xml;
    DomainDefineXmlFlags => domain_define_xml_flags;
    DomainCreateXml => domain_create_xml;
    DomainCreate => domain_create;
    DomainCreateWithFlags => domain_create_with_flags;
    DomainSuspend => domain_suspend;
    DomainResume => domain_resume;
    DomainShutdown => domain_shutdown;
    DomainShutdownFlags => domain_shutdown_flags;
    DomainReboot => domain_reboot;
    DomainReset => domain_reset;
    DomainDestroy => domain_destroy;
    DomainDestroyFlags => domain_destroy_flags;
    DomainUndefine => domain_undefine;
    DomainUndefineFlags => domain_undefine_flags;
    DomainRename => domain_rename;
    DomainSave => domain_save;
    DomainSaveFlags => domain_save_flags;
    DomainRestore => domain_restore;
    DomainRestoreFlags => domain_restore_flags;
    DomainSaveImageGetXmlDesc => domain_save_image_get_xml_desc;
    DomainSaveImageDefineXml => domain_save_image_define_xml;
    DomainManagedSave => domain_managed_save;
    DomainHasManagedSaveImage => domain_has_managed_save_image;
    DomainManagedSaveRemove => domain_managed_save_remove;
    DomainCoreDump => domain_core_dump;
    DomainCoreDumpWithFormat => domain_core_dump_with_format;
    DomainGetAutostart => domain_get_autostart;
    DomainSetAutostart => domain_set_autostart;
    DomainGetInfo => domain_get_info;
    DomainGetMessages => domain_get_messages;
    DomainGetState => domain_get_state;
    DomainGetControlInfo => domain_get_control_info;
    DomainGetOsType => domain_get_os_type;
    DomainGetXmlDesc => domain_get_xml_desc;
    DomainIsActive => domain_is_active;
    DomainIsPersistent => domain_is_persistent;
    DomainIsUpdated => domain_is_updated;
    DomainGetSecurityLabel => domain_get_security_label;
    DomainGetMaxMemory => domain_get_max_memory;
    DomainSetMaxMemory => domain_set_max_memory;
    DomainSetMemory => domain_set_memory;
    DomainSetMemoryFlags => domain_set_memory_flags;
    DomainMemoryStats => domain_memory_stats;
    DomainGetMaxVcpus => domain_get_max_vcpus;
    DomainGetVcpusFlags => domain_get_vcpus_flags;
    DomainSetVcpus => domain_set_vcpus;
    DomainSetVcpusFlags => domain_set_vcpus_flags;
    DomainGetVcpus => domain_get_vcpus;
    DomainPinVcpu => domain_pin_vcpu;
    DomainPinVcpuFlags => domain_pin_vcpu_flags;
    DomainGetVcpuPinInfo => domain_get_vcpu_pin_info;
    DomainPinEmulator => domain_pin_emulator;
    DomainGetEmulatorPinInfo => domain_get_emulator_pin_info;
    DomainGetIoThreadInfo => domain_get_io_thread_info;
    DomainAddIoThread => domain_add_io_thread;
    DomainDelIoThread => domain_del_io_thread;
    DomainPinIoThread => domain_pin_io_thread;
    DomainSetIoThreadParams => domain_set_io_thread_params;
    DomainGetCpuStats => domain_get_cpu_stats;
    DomainBlockStats => domain_block_stats;
    DomainGetBlockInfo => domain_get_block_info;
    DomainGetDiskErrors => domain_get_disk_errors;
    DomainInterfaceStats => domain_interface_stats;
    DomainInterfaceAddresses => domain_interface_addresses;
    DomainGetMemoryParameters => domain_get_memory_parameters;
    DomainSetMemoryParameters => domain_set_memory_parameters;
    DomainGetBlkioParameters => domain_get_blkio_parameters;
    DomainSetBlkioParameters => domain_set_blkio_parameters;
    DomainGetNumaParameters => domain_get_numa_parameters;
    DomainSetNumaParameters => domain_set_numa_parameters;
    DomainGetInterfaceParameters => domain_get_interface_parameters;
    DomainSetInterfaceParameters => domain_set_interface_parameters;
    DomainGetBlockIoTune => domain_get_block_io_tune;
    DomainSetBlockIoTune => domain_set_block_io_tune;
    DomainGetPerfEvents => domain_get_perf_events;
    DomainSetPerfEvents => domain_set_perf_events;
    DomainGetSchedulerType => domain_get_scheduler_type;
    DomainGetSchedulerParameters => domain_get_scheduler_parameters;
    DomainGetSchedulerParametersFlags => domain_get_scheduler_parameters_flags;
    DomainSetSchedulerParameters => domain_set_scheduler_parameters;
    DomainSetSchedulerParametersFlags => domain_set_scheduler_parameters_flags;
    DomainSetLifecycleAction => domain_set_lifecycle_action;
    DomainGetMetadata => domain_get_metadata;
    DomainSetMetadata => domain_set_metadata;
    DomainGetTime => domain_get_time;
    DomainSetTime => domain_set_time;
    DomainGetHostname => domain_get_hostname;
    DomainGetFsinfo => domain_get_fsinfo;
    DomainFsfreeze => domain_fsfreeze;
    DomainFsthaw => domain_fsthaw;
    DomainFstrim => domain_fstrim;
    DomainSetUserPassword => domain_set_user_password;
    DomainSendKey => domain_send_key;
    DomainSendProcessSignal => domain_send_process_signal;
    DomainInjectNmi => domain_inject_nmi;
    DomainScreenshot => domain_screenshot;
    DomainGetLaunchSecurityInfo => domain_get_launch_security_info;

    DomainSnapshotCreateXml => snapshot_create_xml;
    DomainSnapshotGetXmlDesc => snapshot_get_xml_desc;
    DomainSnapshotNum => snapshot_num;
    DomainSnapshotListNames => snapshot_list_names;
    DomainListAllSnapshots => snapshot_list_all;
    DomainSnapshotNumChildren => snapshot_num_children;
    DomainSnapshotListChildrenNames => snapshot_list_children_names;
    DomainSnapshotListAllChildren => snapshot_list_all_children;
    DomainSnapshotLookupByName => snapshot_lookup_by_name;
    DomainHasCurrentSnapshot => has_current_snapshot;
    DomainSnapshotCurrent => snapshot_current;
    DomainSnapshotGetParent => snapshot_get_parent;
    DomainSnapshotIsCurrent => snapshot_is_current;
    DomainSnapshotHasMetadata => snapshot_has_metadata;
    DomainSnapshotDelete => snapshot_delete;
    DomainRevertToSnapshot => revert_to_snapshot;
    DomainCheckpointCreateXml => checkpoint_create_xml;
    DomainCheckpointGetXmlDesc => checkpoint_get_xml_desc;
    DomainListAllCheckpoints => checkpoint_list_all;
    DomainCheckpointListAllChildren => checkpoint_list_all_children;
    DomainCheckpointLookupByName => checkpoint_lookup_by_name;
    DomainCheckpointGetParent => checkpoint_get_parent;
    DomainCheckpointDelete => checkpoint_delete;

    ConnectListAllNetworks => list_all_networks;
    ConnectListNetworks => list_networks;
    ConnectListDefinedNetworks => list_defined_networks;
    ConnectNumOfNetworks => num_of_networks;
    ConnectNumOfDefinedNetworks => num_of_defined_networks;
    NetworkLookupByName => network_lookup_by_name;
    NetworkLookupByUuid => network_lookup_by_uuid;
    NetworkDefineXml => network_define_xml;
    NetworkDefineXmlFlags => network_define_xml_flags;
    NetworkCreateXml => network_create_xml;
    NetworkCreateXmlFlags => network_create_xml_flags;
    NetworkCreate => network_create;
    NetworkDestroy => network_destroy;
    NetworkUndefine => network_undefine;
    NetworkUpdate => network_update;
    NetworkGetXmlDesc => network_get_xml_desc;
    NetworkGetBridgeName => network_get_bridge_name;
    NetworkGetAutostart => network_get_autostart;
    NetworkSetAutostart => network_set_autostart;
    NetworkIsActive => network_is_active;
    NetworkIsPersistent => network_is_persistent;

    ConnectListAllStoragePools => list_all_storage_pools;
    ConnectListStoragePools => list_storage_pools;
    ConnectListDefinedStoragePools => list_defined_storage_pools;
    ConnectNumOfStoragePools => num_of_storage_pools;
    ConnectNumOfDefinedStoragePools => num_of_defined_storage_pools;
    ConnectFindStoragePoolSources => find_storage_pool_sources;
    StoragePoolLookupByName => pool_lookup_by_name;
    StoragePoolLookupByUuid => pool_lookup_by_uuid;
    StoragePoolLookupByVolume => pool_lookup_by_volume;
    StoragePoolLookupByTargetPath => pool_lookup_by_target_path;
    StoragePoolDefineXml => pool_define_xml;
    StoragePoolCreateXml => pool_create_xml;
    StoragePoolCreate => pool_create;
    StoragePoolBuild => pool_build;
    StoragePoolDestroy => pool_destroy;
    StoragePoolDelete => pool_delete;
    StoragePoolUndefine => pool_undefine;
    StoragePoolRefresh => pool_refresh;
    StoragePoolGetInfo => pool_get_info;
    StoragePoolGetXmlDesc => pool_get_xml_desc;
    StoragePoolGetAutostart => pool_get_autostart;
    StoragePoolSetAutostart => pool_set_autostart;
    StoragePoolIsActive => pool_is_active;
    StoragePoolIsPersistent => pool_is_persistent;
    StoragePoolNumOfVolumes => pool_num_of_volumes;
    StoragePoolListVolumes => pool_list_volumes;
    StoragePoolListAllVolumes => pool_list_all_volumes;
    StorageVolCreateXml => vol_create_xml;
    StorageVolCreateXmlFrom => vol_create_xml_from;
    StorageVolDelete => vol_delete;
    StorageVolLookupByName => vol_lookup_by_name;
    StorageVolLookupByKey => vol_lookup_by_key;
    StorageVolLookupByPath => vol_lookup_by_path;
    StorageVolGetInfo => vol_get_info;
    StorageVolGetXmlDesc => vol_get_xml_desc;
    StorageVolGetPath => vol_get_path;

    ConnectListAllInterfaces => list_all_interfaces;
    ConnectListInterfaces => list_interfaces;
    ConnectListDefinedInterfaces => list_defined_interfaces;
    ConnectNumOfInterfaces => num_of_interfaces;
    ConnectNumOfDefinedInterfaces => num_of_defined_interfaces;
    InterfaceLookupByName => interface_lookup_by_name;
    InterfaceLookupByMacString => interface_lookup_by_mac_string;
    InterfaceDefineXml => interface_define_xml;
    InterfaceUndefine => interface_undefine;
    InterfaceCreate => interface_create;
    InterfaceDestroy => interface_destroy;
    InterfaceIsActive => interface_is_active;
    InterfaceGetXmlDesc => interface_get_xml_desc;
    InterfaceChangeBegin => interface_change_begin;
    InterfaceChangeCommit => interface_change_commit;
    InterfaceChangeRollback => interface_change_rollback;

    ConnectListAllNodeDevices => list_all_node_devices;
    NodeNumOfDevices => node_num_of_devices;
    NodeListDevices => node_list_devices;
    NodeDeviceLookupByName => node_device_lookup_by_name;
    NodeDeviceGetXmlDesc => node_device_get_xml_desc;
    NodeDeviceGetParent => node_device_get_parent;
    NodeDeviceNumOfCaps => node_device_num_of_caps;
    NodeDeviceListCaps => node_device_list_caps;
    NodeDeviceCreateXml => node_device_create_xml;
    NodeDeviceDestroy => node_device_destroy;
};

/// What it cannot do.
const BEYOND: &[(i32, Handler)] = &routes! { remote:
    ConnectBaselineCpu => baseline_cpu;
    ConnectBaselineHypervisorCpu => baseline_hypervisor_cpu;
    ConnectCompareCpu => compare_cpu;
    ConnectCompareHypervisorCpu => compare_hypervisor_cpu;
    ConnectGetDomainCapabilities => domain_capabilities;
    ConnectGetStoragePoolCapabilities => storage_capabilities;
    ConnectDomainXmlToNative => xml_to_native;
    ConnectDomainXmlFromNative => xml_from_native;
    ConnectSetIdentity => set_identity;
    NodeAllocPages => alloc_pages;
    NodeGetMemoryParameters => memory_parameters;
    NodeSetMemoryParameters => set_memory_parameters;
    NodeGetMemoryStats => memory_stats;
    NodeGetSevInfo => sev_info;
    NodeSuspendForDuration => suspend_host;
    NodeDeviceDefineXml => node_device_define_xml;
    NodeDeviceUndefine => node_device_undefine;
    NodeDeviceCreate => node_device_create;
    NodeDeviceGetAutostart => node_device_get_autostart;
    NodeDeviceSetAutostart => node_device_set_autostart;
    NodeDeviceIsPersistent => node_device_is_persistent;
    NodeDeviceIsActive => node_device_is_active;
    NodeDeviceUpdate => node_device_update;
    NodeDeviceDettach => node_device_dettach;
    NodeDeviceDetachFlags => node_device_detach_flags;
    NodeDeviceReAttach => node_device_re_attach;
    NodeDeviceReset => node_device_reset;
    NodeDeviceLookupScsiHostByWwn => node_device_lookup_scsi_host;
    DomainAgentSetResponseTimeout => agent_set_response_timeout;
    DomainAuthorizedSshKeysGet => authorized_ssh_keys;
    DomainAuthorizedSshKeysSet => set_authorized_ssh_keys;
    DomainGetGuestInfo => guest_info;
    DomainGetGuestVcpus => guest_vcpus;
    DomainSetGuestVcpus => set_guest_vcpus;
    DomainSetVcpu => domain_set_vcpu;
    DomainAnnounceInterface => announce_interface;
    DomainDetachDeviceAlias => domain_detach_device_alias;
    DomainGetSecurityLabelList => security_label_list;
    DomainGraphicsReload => graphics_reload;
    DomainManagedSaveGetXmlDesc => managed_save_get_xml_desc;
    DomainManagedSaveDefineXml => managed_save_define_xml;
    DomainSetBlockThreshold => set_block_threshold;
    DomainSetLaunchSecurityState => set_launch_security_state;
    DomainSetMemoryStatsPeriod => set_memory_stats_period;
    DomainStartDirtyRateCalc => start_dirty_rate_calc;
    DomainSetThrottleGroup => set_throttle_group;
    DomainDelThrottleGroup => del_throttle_group;
    DomainMigrateStartPostCopy => migrate_start_post_copy;
    DomainMigrateBegin3 => migrate_begin3;
    DomainMigratePrepare3 => migrate_prepare3;
    DomainMigratePrepareTunnel3 => migrate_prepare_tunnel3;
    DomainMigratePrepareTunnel3Params => migrate_prepare_tunnel3_params;
    DomainMigratePerform3 => migrate_perform3;
    DomainMigrateFinish3 => migrate_finish3;
    DomainMigrateConfirm3 => migrate_confirm3;
    DomainMigratePrepare2 => migrate_prepare2;
    DomainMigratePrepareTunnel => migrate_prepare_tunnel2;
    DomainMigratePerform => migrate_perform2;
    DomainMigrateFinish2 => migrate_finish2;
    ConnectSecretEventRegisterAny => secret_event_register_any;
    ConnectSecretEventDeregisterAny => secret_event_deregister_any;
    DomainGetJobInfo => domain_get_job_info;
    DomainGetJobStats => domain_get_job_stats;
    DomainAbortJob => domain_abort_job;
    DomainAbortJobFlags => domain_abort_job_flags;
    DomainBackupBegin => domain_backup_begin;
    DomainBackupGetXmlDesc => domain_backup_get_xml_desc;
    DomainBlockPull => domain_block_pull;
    DomainBlockRebase => domain_block_rebase;
    DomainBlockCopy => domain_block_copy;
    DomainBlockCommit => domain_block_commit;
    DomainBlockJobAbort => domain_block_job_abort;
    DomainGetBlockJobInfo => domain_get_block_job_info;
    DomainBlockJobSetSpeed => domain_block_job_set_speed;
    DomainBlockResize => domain_block_resize;
    DomainBlockPeek => domain_block_peek;
    DomainMemoryPeek => domain_memory_peek;
    DomainMigrateBegin3Params => migrate_begin;
    DomainMigratePrepare3Params => migrate_prepare;
    DomainMigratePerform3Params => migrate_perform;
    DomainMigrateFinish3Params => migrate_finish;
    DomainMigrateConfirm3Params => migrate_confirm;
    DomainMigrateSetMaxSpeed => migrate_set_max_speed;
    DomainMigrateGetMaxSpeed => migrate_get_max_speed;
    DomainMigrateSetMaxDowntime => migrate_set_max_downtime;
    DomainMigrateGetMaxDowntime => migrate_get_max_downtime;
    DomainMigrateSetCompressionCache => migrate_set_cache;
    DomainMigrateGetCompressionCache => migrate_get_cache;
    DomainOpenGraphics => domain_open_graphics;
    DomainOpenGraphicsFd => domain_open_graphics_fd;
    DomainCreateXmlWithFiles => domain_create_xml_with_files;
    DomainCreateWithFiles => domain_create_with_files;
    DomainFdAssociate => domain_fd_associate;
    DomainPmSuspendForDuration => pm_suspend;
    DomainPmWakeup => pm_wakeup;
    DomainGetAutostartOnce => domain_get_autostart_once;
    DomainSetAutostartOnce => domain_set_autostart_once;
    DomainSaveParams => domain_save_params;
    DomainRestoreParams => domain_restore_params;
    NetworkListAllPorts => network_list_all_ports;
    NetworkPortLookupByUuid => network_port_lookup_by_uuid;
    NetworkPortCreateXml => network_port_create_xml;
    NetworkPortGetXmlDesc => network_port_get_xml_desc;
    NetworkPortGetParameters => network_port_get_parameters;
    NetworkPortSetParameters => network_port_set_parameters;
    NetworkPortDelete => network_port_delete;
    NetworkGetDhcpLeases => network_get_dhcp_leases;
    NetworkSetMetadata => network_set_metadata;
    NetworkGetMetadata => network_get_metadata;
    NwFilterBindingCreateXml => nwfilter_binding_create_xml;
    NwFilterBindingDelete => nwfilter_binding_delete;
    NwFilterBindingGetXmlDesc => nwfilter_binding_get_xml_desc;
    NwFilterBindingLookupByPortDev => nwfilter_binding_lookup;
    ConnectListAllNwFilterBindings => list_all_nwfilter_bindings;
    DomainOpenConsole => domain_open_console;
    DomainOpenChannel => domain_open_channel;
    DomainBlockStatsFlags => domain_block_stats_flags;
    DomainAttachDevice => domain_attach_device;
    DomainAttachDeviceFlags => domain_attach_device_flags;
    DomainUpdateDeviceFlags => domain_update_device_flags;
    DomainDetachDevice => domain_detach_device;
    DomainDetachDeviceFlags => domain_detach_device_flags;
    SecretDefineXml => secret_define_xml;
    SecretUndefine => secret_undefine;
    SecretGetXmlDesc => secret_get_xml_desc;
    SecretSetValue => secret_set_value;
    SecretGetValue => secret_get_value;
    SecretLookupByUuid => secret_lookup_by_uuid;
    SecretLookupByUsage => secret_lookup_by_usage;
    ConnectListAllSecrets => list_all_secrets;
    ConnectListSecrets => list_secrets;
    ConnectNumOfSecrets => num_of_secrets;
    NwFilterDefineXml => nwfilter_define_xml;
    NwFilterDefineXmlFlags => nwfilter_define_xml_flags;
    NwFilterUndefine => nwfilter_undefine;
    NwFilterGetXmlDesc => nwfilter_get_xml_desc;
    NwFilterLookupByName => nwfilter_lookup_by_name;
    NwFilterLookupByUuid => nwfilter_lookup_by_uuid;
    ConnectListAllNwfilters => list_all_nwfilters;
    ConnectListNwfilters => list_nwfilters;
    ConnectNumOfNwfilters => num_of_nwfilters;
    StorageVolUpload => vol_upload;
    StorageVolDownload => vol_download;
    StorageVolWipe => vol_wipe;
    StorageVolWipePattern => vol_wipe_pattern;
    StorageVolResize => vol_resize;
    StorageVolGetInfoFlags => vol_get_info_flags;
};

/// What only QEMU has.
const QEMU: &[(i32, Handler)] = &routes! { qemu:
    DomainMonitorCommand => monitor_command;
    DomainMonitorCommandWithFiles => monitor_command_with_files;
    DomainAgentCommand => agent_command;
    ConnectDomainMonitorEventRegister => monitor_event_register;
    ConnectDomainMonitorEventDeregister => monitor_event_deregister;
};

/// What only containers have.
const LXC: &[(i32, Handler)] = &routes! { lxc:
    DomainOpenNamespace => open_namespace;
};

/// The daemon's own administration.
const ADMIN: &[(i32, Handler)] = &routes! { admin:
    ConnectOpen => admin_open;
    ConnectClose => admin_close;
    ConnectGetLibVersion => admin_lib_version;
    ConnectListServers => admin_servers;
    ConnectLookupServer => admin_server;
    ServerGetThreadpoolParameters => admin_threadpool;
    ServerSetThreadpoolParameters => admin_set_threadpool;
    ServerListClients => admin_clients;
    ServerLookupClient => admin_client;
    ClientGetInfo => admin_client_info;
    ClientClose => admin_client_close;
    ServerGetClientLimits => admin_limits;
    ServerSetClientLimits => admin_set_limits;
    ConnectGetLoggingOutputs => admin_outputs;
    ConnectGetLoggingFilters => admin_filters;
    ConnectSetLoggingOutputs => admin_set_outputs;
    ConnectSetLoggingFilters => admin_set_filters;
    ServerUpdateTlsFiles => admin_update_tls;
    ConnectSetDaemonTimeout => admin_set_timeout;
    ConnectDaemonShutdown => admin_shut_down;
};

/// The method for a procedure; `None` where the driver has none.
pub(super) fn find(program: Program, procedure: i32, scope: Scope) -> Option<Handler> {
    static INDEX: LazyLock<HashMap<(Program, i32), (Handler, Scope)>> = LazyLock::new(|| {
        let tables = [
            (Program::Remote, TEST_DRIVER, Scope::TestDriver),
            (Program::Remote, BEYOND, Scope::Complete),
            (Program::Qemu, QEMU, Scope::Complete),
            (Program::Lxc, LXC, Scope::Complete),
            (Program::Admin, ADMIN, Scope::TestDriver),
        ];
        let all = tables.into_iter().flat_map(|(program, table, scope)| {
            table.iter().map(move |(number, handler)| ((program, *number), (*handler, scope)))
        });
        all.collect()
    });
    let (handler, needs) = INDEX.get(&(program, procedure))?;
    (*needs == Scope::TestDriver || scope == Scope::Complete).then_some(*handler)
}

/// Whether a procedure may be called on a connection that is not open.
pub(super) fn before_open(info: &Info) -> bool {
    let known = [remote::ConnectOpen::INFO, remote::ConnectSupportsFeature::INFO, admin::ConnectOpen::INFO];
    before_authentication(info) || is_one_of(info, &known)
}

/// Whether who calls it need not have said who he is.
pub(super) fn before_authentication(info: &Info) -> bool {
    use remote::{AuthList, AuthPolkit, AuthSaslInit, AuthSaslStart, AuthSaslStep};
    is_one_of(
        info,
        &[AuthList::INFO, AuthPolkit::INFO, AuthSaslInit::INFO, AuthSaslStart::INFO, AuthSaslStep::INFO],
    )
}

fn is_one_of(info: &Info, known: &[&Info]) -> bool {
    known.iter().any(|known| known.program == info.program && known.number == info.number)
}
