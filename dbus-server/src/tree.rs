//! Which paths there are.

use std::collections::BTreeSet;

use crate::call::Call;
use crate::label::Label;
use crate::server::Server;
use crate::table::{Object, Place};

/// What is at a path.
pub(crate) enum Node<C: 'static, O: 'static> {
    /// An object.
    Object(&'static Object<C, O>, O),
    /// No object, but all the objects of a kind are right below.
    Parent,
    /// No object, but there are some further down.
    Ancestor,
    /// Nothing.
    Nothing,
}

/// What comes below a path, without the slash; `None` if the other path is not below it.
fn below<'p>(path: &str, other: &'p str) -> Option<&'p str> {
    if path == "/" {
        return other.strip_prefix('/').filter(|rest| !rest.is_empty());
    }
    other.strip_prefix(path)?.strip_prefix('/')
}

impl<C: 'static, O: Clone + 'static> Server<C, O> {
    /// Finds what is at a path, for this caller.
    pub(crate) async fn find(&self, path: &str, call: &Call) -> Node<C, O> {
        for object in self.objects {
            match &object.place {
                Place::Here(subject) | Place::Fresh { subject, .. } if object.path == path => {
                    return Node::Object(object, subject.clone());
                }
                Place::Below { find, .. } => {
                    if let Some(label) = below(object.path, path).filter(|label| !label.contains('/')) {
                        let found = find(self.context.clone(), Label::of_path(label), call.clone()).await;
                        return found.map_or(Node::Nothing, |subject| Node::Object(object, subject));
                    }
                }
                Place::Here(_) | Place::Fresh { .. } => {}
            }
        }
        let is_parent =
            |object: &Object<C, O>| matches!(object.place, Place::Below { .. }) && object.path == path;
        if self.objects.iter().any(is_parent) {
            return Node::Parent;
        }
        match self.objects.iter().any(|object| below(path, object.path).is_some()) {
            true => Node::Ancestor,
            false => Node::Nothing,
        }
    }

    /// The names of the nodes right below a path, each once.
    pub(crate) async fn children(&self, path: &str, call: &Call) -> BTreeSet<String> {
        let mut children = BTreeSet::new();
        for object in self.objects {
            if let Some(rest) = below(path, object.path) {
                children.extend(rest.split('/').next().map(str::to_owned));
            }
            if let Place::Below { labels, .. } = &object.place
                && object.path == path
            {
                let labels = labels(self.context.clone(), call.clone()).await;
                children.extend(labels.iter().map(Label::to_string));
            }
        }
        children
    }
}
