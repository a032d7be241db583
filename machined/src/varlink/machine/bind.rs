//! `BindMount`.

use std::rc::Rc;

use serde_json::Value;

use super::{caller, target, text};
use crate::authorization::{Authorized, Bind as MayBind};
use crate::inside::Bind;
use crate::operations::{Operations, is_plain_path};
use varlink_server::{Call, Done, ErrorReply, Replier};

pub(super) async fn bind(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    let flag = |name: &str| call.parameters.get(name).and_then(Value::as_bool).unwrap_or(false);
    let source = text(&call.parameters, "source").filter(|path| is_plain_path(path));
    let source = source.ok_or_else(|| ErrorReply::invalid_parameter("source"))?;
    let destination = text(&call.parameters, "destination").unwrap_or(source);
    if !is_plain_path(destination) {
        return Err(ErrorReply::invalid_parameter("destination"));
    }
    let target = target(&operations, &call)?;
    operations.is_bindable(target)?;
    let name = operations.name_of(target)?;
    let details = [("name", name.as_str()), ("verb", "bind"), ("src", source), ("dest", destination)];
    let authorized: Authorized<MayBind> = operations.may(&caller(&call), Some(target), &details).await?;
    let wanted = Bind {
        source: source.to_owned(),
        destination: destination.to_owned(),
        is_read_only: flag("readOnly"),
        makes_directories: flag("mkdir"),
    };
    operations.bind(&authorized, target, wanted).await?;
    replier.reply(&())
}
