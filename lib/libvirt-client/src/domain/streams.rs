//! Consoles, channels, screenshots, and descriptors of domains.

use super::Domain;
use crate::connect::Connect;
use crate::connection::ByteStream;
use crate::error::Error;
use crate::handle::text;
use libvirt_protocol::NoFlags;
use libvirt_protocol::flags::{
    DomainChannelFlags, DomainConsoleFlags, DomainCreateFlags, DomainFdAssociateFlags,
    DomainOpenGraphicsFlags,
};
use libvirt_protocol::remote::{self, *};
use std::os::fd::OwnedFd;

impl Domain {
    /// Opens a console, both ways; `None` is the first one (`virDomainOpenConsole`).
    ///
    /// # Errors
    /// As every call.
    pub async fn open_console(
        &self,
        device: Option<&str>,
        flags: DomainConsoleFlags,
    ) -> Result<ByteStream, Error> {
        let args = DomainOpenConsoleArgs { dom: self.wire(), dev_name: device.map(Into::into), flags };
        self.connect().open_stream::<remote::DomainOpenConsole>(&args).await
    }

    /// Opens a channel to the guest, both ways (`virDomainOpenChannel`).
    ///
    /// # Errors
    /// As every call.
    pub async fn open_channel(
        &self,
        name: Option<&str>,
        flags: DomainChannelFlags,
    ) -> Result<ByteStream, Error> {
        let args = DomainOpenChannelArgs { dom: self.wire(), name: name.map(Into::into), flags };
        self.connect().open_stream::<remote::DomainOpenChannel>(&args).await
    }

    /// A picture of a screen: its MIME type, and a stream that brings it (`virDomainScreenshot`).
    ///
    /// # Errors
    /// As every call.
    pub async fn screenshot(&self, screen: u32) -> Result<(Option<String>, ByteStream), Error> {
        let args = DomainScreenshotArgs { dom: self.wire(), screen, flags: NoFlags::empty() };
        let (reply, stream) = self.connect().call_stream::<remote::DomainScreenshot>(&args).await?;
        let mime = text(reply.result()?.mime);
        Ok((mime, stream))
    }

    /// Gives its graphics server a connection: one end of a socket pair (`virDomainOpenGraphics`).
    ///
    /// # Errors
    /// As every call; also when the transport carries no descriptors.
    pub async fn open_graphics(
        &self,
        index: u32,
        socket: OwnedFd,
        flags: DomainOpenGraphicsFlags,
    ) -> Result<(), Error> {
        let args = DomainOpenGraphicsArgs { dom: self.wire(), idx: index, flags };
        self.connect().call_with::<remote::DomainOpenGraphics>(&args, vec![socket]).await.map(drop)
    }

    /// A connection to its graphics server (`virDomainOpenGraphicsFD`).
    ///
    /// # Errors
    /// As every call; also when none came.
    pub async fn open_graphics_fd(
        &self,
        index: u32,
        flags: DomainOpenGraphicsFlags,
    ) -> Result<OwnedFd, Error> {
        let args = DomainOpenGraphicsFdArgs { dom: self.wire(), idx: index, flags };
        let mut reply = self.connect().call::<remote::DomainOpenGraphicsFd>(&args).await?;
        let came = reply.take_descriptors().into_iter().next();
        came.ok_or_else(|| Error::protocol("virDomainOpenGraphicsFD brought no descriptor"))
    }

    /// Starts it, and hands descriptors to its first process (`virDomainCreateWithFiles`).
    ///
    /// # Errors
    /// As every call; also when the transport carries no descriptors.
    pub async fn start_with_files(
        &self,
        files: Vec<OwnedFd>,
        flags: DomainCreateFlags,
    ) -> Result<Self, Error> {
        let args = DomainCreateWithFilesArgs { dom: self.wire(), flags };
        let reply = self.connect().call_with::<remote::DomainCreateWithFiles>(&args, files).await?;
        Ok(Self::new(self.connect(), reply.result()?.dom))
    }

    /// Puts descriptors under a name that its definition's disks can refer to (`virDomainFDAssociate`).
    ///
    /// The daemon keeps them for as long as the connection lives on which they came, so this is said on the first one. They are gone when that
    /// is closed or lost: after a reconnection ([`crate::Builder::reconnect`], [`crate::Item::Resynchronised`]) they must be handed over
    /// again, or the domain does not start.
    ///
    /// # Errors
    /// As every call; also when the transport carries no descriptors.
    pub async fn associate_files(
        &self,
        name: &str,
        files: Vec<OwnedFd>,
        flags: DomainFdAssociateFlags,
    ) -> Result<(), Error> {
        let args = DomainFdAssociateArgs { dom: self.wire(), name: name.into(), flags };
        self.connect().call_on_the_first::<remote::DomainFdAssociate>(&args, files).await.map(drop)
    }
}

impl Connect {
    /// Starts a domain that goes when it stops, and hands descriptors to its first process (`virDomainCreateXMLWithFiles`).
    ///
    /// # Errors
    /// As every call; also when the transport carries no descriptors.
    pub async fn create_domain_with_files(
        &self,
        xml: &str,
        files: Vec<OwnedFd>,
        flags: DomainCreateFlags,
    ) -> Result<Domain, Error> {
        let args = DomainCreateXmlWithFilesArgs { xml_desc: xml.into(), flags };
        let reply = self.call_with::<remote::DomainCreateXmlWithFiles>(&args, files).await?;
        Ok(Domain::new(self, reply.result()?.dom))
    }
}
