//! The steps of a migration as the versions of the protocol ask for them. The third has a step to begin with and one to confirm; the
//! second prepares, performs and finishes; the first sends no definition, so that no server could make anything of it, and is refused.
//! A tunnel is a stream to the destination, whose data are the memory of a guest that has none here.

use super::errand::{Wish, is_outward};
use super::{Begin, F, Hypervisor, Prepare, Refusal, Reply};
use crate::hypervisor::text;
use libvirt_protocol::params::TypedParam;
use libvirt_protocol::xdr::{Bytes, IntoOwned, List, Text};
use libvirt_protocol::{parameters as names, remote};

fn owned(text: &Option<Text<'_>>) -> Option<String> {
    text.as_ref().map(ToString::to_string)
}

/// What the two servers tell each other through the client.
fn cookie<const MAX: u32>(hostname: &str) -> Bytes<'static, MAX> {
    Bytes(format!("<qemu-migration><hostname>{hostname}</hostname></qemu-migration>").into_bytes().into())
}

/// An empty cookie, encoded.
const NO_COOKIE: [u8; 4] = [0; 4];

/// Who carries it out by itself makes its own (`qemuMigrationSrcPerform`).
fn no_cookie<const MAX: u32>(cookie: &Bytes<'_, MAX>) -> Result<(), Refusal> {
    match cookie.0.is_empty() {
        true => Ok(()),
        false => Err(Refusal::invalid("received unexpected cookie with P2P migration")),
    }
}

/// What older calls say in arguments of their own, as parameters.
fn said(texts: &[(&'static str, &Option<Text<'_>>)]) -> Vec<TypedParam<'static>> {
    let said = |(name, text): &(&'static str, &Option<Text<'_>>)| {
        text.as_ref().map(|text| TypedParam::new(*name, text.to_string()))
    };
    texts.iter().filter_map(said).collect()
}

/// The second version finishes with the name alone: the domain has the one that its preparation gave it.
fn ended(retcode: i32) -> bool {
    retcode != 0
}

impl Hypervisor {
    pub(in crate::hypervisor) fn migrate_begin(
        &mut self,
        args: remote::DomainMigrateBegin3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigrateBegin3Params> {
        let begin = Begin { xml: text(&args.params, names::MIGRATE_PARAM_DEST_XML), flags: args.flags };
        let xml = self.begin_migration(&args.dom, begin)?.into();
        Ok(remote::DomainMigrateBegin3ParamsRet { cookie_out: cookie(&self.hostname), xml })
    }

    pub(in crate::hypervisor) fn migrate_begin3(
        &mut self,
        args: remote::DomainMigrateBegin3Args<'_>,
    ) -> Reply<remote::DomainMigrateBegin3> {
        let begin = Begin { xml: owned(&args.xmlin), flags: args.flags.low };
        let xml = self.begin_migration(&args.dom, begin)?.into();
        Ok(remote::DomainMigrateBegin3Ret { cookie_out: cookie(&self.hostname), xml })
    }

    pub(in crate::hypervisor) fn migrate_prepare(
        &mut self,
        args: remote::DomainMigratePrepare3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigratePrepare3Params> {
        let uri = self.prepare_migration(given(&args.params, args.flags))?;
        let cookie_out = args.cookie_in.into_owned();
        Ok(remote::DomainMigratePrepare3ParamsRet { cookie_out, uri_out: uri.map(Into::into) })
    }

    pub(in crate::hypervisor) fn migrate_prepare3(
        &mut self,
        args: remote::DomainMigratePrepare3Args<'_>,
    ) -> Reply<remote::DomainMigratePrepare3> {
        let uri = self.prepare_migration(Prepare {
            xml: Some(args.dom_xml.to_string()),
            name: owned(&args.dname),
            uri: owned(&args.uri_in),
            flags: args.flags.low,
        })?;
        let cookie_out = args.cookie_in.into_owned();
        Ok(remote::DomainMigratePrepare3Ret { cookie_out, uri_out: uri.map(Into::into) })
    }

    pub(in crate::hypervisor) fn migrate_prepare2(
        &mut self,
        args: remote::DomainMigratePrepare2Args<'_>,
    ) -> Reply<remote::DomainMigratePrepare2> {
        let uri = self.prepare_migration(Prepare {
            xml: Some(args.dom_xml.to_string()),
            name: owned(&args.dname),
            uri: owned(&args.uri_in),
            flags: args.flags.low,
        })?;
        Ok(remote::DomainMigratePrepare2Ret { cookie: cookie(&self.hostname), uri_out: uri.map(Into::into) })
    }

    pub(in crate::hypervisor) fn migrate_prepare_tunnel2(
        &mut self,
        args: remote::DomainMigratePrepareTunnelArgs<'_>,
    ) -> Reply<remote::DomainMigratePrepareTunnel> {
        let (xml, name) = (Some(args.dom_xml.to_string()), owned(&args.dname));
        self.prepare_migration(Prepare { xml, name, uri: None, flags: args.flags.low })?;
        self.open_sink()
    }

    pub(in crate::hypervisor) fn migrate_prepare_tunnel3(
        &mut self,
        args: remote::DomainMigratePrepareTunnel3Args<'_>,
    ) -> Reply<remote::DomainMigratePrepareTunnel3> {
        let (xml, name) = (Some(args.dom_xml.to_string()), owned(&args.dname));
        self.prepare_migration(Prepare { xml, name, uri: None, flags: args.flags.low })?;
        self.open_sink()?;
        Ok(remote::DomainMigratePrepareTunnel3Ret { cookie_out: args.cookie_in.into_owned() })
    }

    pub(in crate::hypervisor) fn migrate_prepare_tunnel3_params(
        &mut self,
        args: remote::DomainMigratePrepareTunnel3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigratePrepareTunnel3Params> {
        self.prepare_migration(given(&args.params, args.flags))?;
        self.open_sink()?;
        Ok(remote::DomainMigratePrepareTunnel3ParamsRet { cookie_out: args.cookie_in.into_owned() })
    }

    pub(in crate::hypervisor) fn migrate_perform(
        &mut self,
        args: remote::DomainMigratePerform3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigratePerform3Params> {
        if is_outward(args.flags) {
            no_cookie(&args.cookie_in)?;
            let params = args.params.iter().map(IntoOwned::into_owned).collect();
            let (dom, uri, flags) = (args.dom.into_owned(), owned(&args.dconnuri), args.flags);
            self.go_out(Wish { dom, uri, params, flags }, NO_COOKIE.to_vec())?;
            return Ok(remote::DomainMigratePerform3ParamsRet::default());
        }
        self.perform_migration(&args.dom, args.flags)?;
        // Nothing but the one cookie passes, so a job that takes its time has nothing to add.
        Ok(remote::DomainMigratePerform3ParamsRet::default())
    }

    pub(in crate::hypervisor) fn migrate_perform3(
        &mut self,
        args: remote::DomainMigratePerform3Args<'_>,
    ) -> Reply<remote::DomainMigratePerform3> {
        let flags = args.flags.low;
        if is_outward(flags) {
            no_cookie(&args.cookie_in)?;
            let params = said(&[
                (names::MIGRATE_PARAM_DEST_XML, &args.xmlin),
                (names::MIGRATE_PARAM_URI, &args.uri),
                (names::MIGRATE_PARAM_DEST_NAME, &args.dname),
            ]);
            let (dom, uri) = (args.dom.into_owned(), owned(&args.dconnuri));
            self.go_out(Wish { dom, uri, params, flags }, NO_COOKIE.to_vec())?;
            return Ok(remote::DomainMigratePerform3Ret::default());
        }
        self.perform_migration(&args.dom, args.flags.low)?;
        Ok(remote::DomainMigratePerform3Ret::default())
    }

    pub(in crate::hypervisor) fn migrate_perform2(
        &mut self,
        args: remote::DomainMigratePerformArgs<'_>,
    ) -> Reply<remote::DomainMigratePerform> {
        let flags = args.flags.low;
        if is_outward(flags) {
            no_cookie(&args.cookie)?;
            let params = said(&[(names::MIGRATE_PARAM_DEST_NAME, &args.dname)]);
            // Of this version it is the daemon's URI (`virDomainMigratePeer2PeerPlain`).
            let (dom, uri) = (args.dom.into_owned(), Some(args.uri.to_string()));
            return self.go_out(Wish { dom, uri, params, flags }, Vec::new());
        }
        self.perform_migration(&args.dom, args.flags.low)?;
        // The second version has no step to confirm: what was sent is gone.
        match self.deferred {
            true => Ok(()),
            false => self.confirm_migration(&args.dom, args.flags.low, false),
        }
    }

    pub(in crate::hypervisor) fn migrate_finish(
        &mut self,
        args: remote::DomainMigrateFinish3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigrateFinish3Params> {
        let name = text(&args.params, names::MIGRATE_PARAM_DEST_NAME).unwrap_or_default();
        let dom = self.finish_migration(&name, args.flags, ended(args.cancelled))?;
        Ok(remote::DomainMigrateFinish3ParamsRet { dom, cookie_out: args.cookie_in.into_owned() })
    }

    pub(in crate::hypervisor) fn migrate_finish3(
        &mut self,
        args: remote::DomainMigrateFinish3Args<'_>,
    ) -> Reply<remote::DomainMigrateFinish3> {
        let dom = self.finish_migration(&args.dname.to_string(), args.flags.low, ended(args.cancelled))?;
        Ok(remote::DomainMigrateFinish3Ret { dom, cookie_out: args.cookie_in.into_owned() })
    }

    pub(in crate::hypervisor) fn migrate_finish2(
        &mut self,
        args: remote::DomainMigrateFinish2Args<'_>,
    ) -> Reply<remote::DomainMigrateFinish2> {
        let ddom = self.finish_migration(&args.dname.to_string(), args.flags.low, ended(args.retcode))?;
        Ok(remote::DomainMigrateFinish2Ret { ddom })
    }

    pub(in crate::hypervisor) fn migrate_confirm(
        &mut self,
        args: remote::DomainMigrateConfirm3ParamsArgs<'_>,
    ) -> Reply<remote::DomainMigrateConfirm3Params> {
        self.confirm_migration(&args.dom, args.flags, ended(args.cancelled))
    }

    pub(in crate::hypervisor) fn migrate_confirm3(
        &mut self,
        args: remote::DomainMigrateConfirm3Args<'_>,
    ) -> Reply<remote::DomainMigrateConfirm3> {
        self.confirm_migration(&args.dom, args.flags.low, ended(args.cancelled))
    }
}

/// What the parameters say of a preparation.
fn given<'a>(params: &List<'a, TypedParam<'a>, 64>, flags: F) -> Prepare {
    Prepare {
        xml: text(params, names::MIGRATE_PARAM_DEST_XML),
        name: text(params, names::MIGRATE_PARAM_DEST_NAME),
        uri: text(params, names::MIGRATE_PARAM_URI),
        flags,
    }
}
