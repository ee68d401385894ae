//! The located tree to the model: the admin listener.

use crate::model::{Admin, AdminToken, Role, default_admin_bind};
use crate::reader::{Reader, Value, set};
use crate::secret::Secret;

pub(super) fn admin(reader: &mut Reader, value: &Value) -> Option<Admin> {
    let mut fields = reader.fields(value, "Admin")?;
    let mut admin = Admin { bind: default_admin_bind(), token: None, tokens: Vec::new() };
    if let Some(value) = fields.take(reader, "bind") {
        set(&mut admin.bind, reader.socket_address(&value));
    }
    if let Some(value) = fields.section(reader, "token") {
        admin.token = reader.secret(&value);
    }
    if let Some(value) = fields.section(reader, "tokens") {
        let items = reader.list(&value);
        admin.tokens = items.iter().filter_map(|value| token(reader, value)).collect();
    }
    reader.finish(fields);
    Some(admin)
}

fn token(reader: &mut Reader, value: &Value) -> Option<AdminToken> {
    let mut fields = reader.fields(value, "AdminToken")?;
    let name = fields.required(reader, "name").and_then(|value| reader.text(&value));
    let token = fields.required(reader, "token").and_then(|value| reader.secret(&value));
    let role = fields
        .required(reader, "role")
        .and_then(|value| reader.one_of(&value, &Role::ALL.map(|role| (role.as_str(), role))));
    reader.finish(fields);
    // What is missing has been reported: the rest of the token is still looked at.
    Some(AdminToken {
        name: name.unwrap_or_default(),
        token: token.unwrap_or_else(|| Secret::new("")),
        role: role.unwrap_or(Role::Read),
    })
}
