//! One API call: the request with what every endpoint needs of it, and the ways to answer it.

use super::answer::{Answer, Body};
use super::failure::{Dialect, failure, unknown_model, unknown_path, wording};
use super::model::Model;
use super::narration::{Form, Narration};
use super::stats::Stats;
use super::story::Story;
use crate::connection::Request;
use crate::json::Object;

/// `created` of everything the lab makes, in seconds since 1970: fixed, for the same input gives the same bytes.
pub(super) const CREATED: u64 = 1_735_689_600;

/// An API call.
pub(super) struct Call<'a> {
    pub(super) request: Request<'a>,
    pub(super) dialect: Dialect,
    /// Fingerprint of the request's body.
    pub(super) id: u64,
    /// The key that came with the request, in any of the vendors' places.
    pub(super) key: Option<&'a str>,
    pub(super) stats: &'a Stats,
}

impl<'a> Call<'a> {
    /// The body as a JSON object, or the vendor's 400.
    pub(super) fn object(&self) -> Result<Object<'a>, Answer> {
        Object::parse(self.request.body).map_err(|error| {
            let text = format!("We could not parse the JSON body of your request: {error}");
            self.bad_request(&text)
        })
    }

    /// The model that the body's `model` names, with its name.
    pub(super) fn model(&self, body: &Object) -> Result<(String, Model), Answer> {
        let Some(name) = body.text("model") else {
            return Err(self.bad_request("you must provide a model parameter"));
        };
        Ok((name.clone().into_owned(), self.named_model(&name)?))
    }

    /// The model called `name`; an error reply when there is none, or when failing is what the model is for.
    pub(super) fn named_model(&self, name: &str) -> Result<Model, Answer> {
        self.stats.count_model(name);
        let fails = match Model::named(name) {
            None => 404,
            Some(Model::Error(status)) => status,
            Some(Model::Flaky(every)) if self.stats.next_flaky().is_multiple_of(every) => 500,
            Some(model) => return Ok(model),
        };
        Err(self.fail(fails, &wording(fails, name, self.key)))
    }

    /// An error reply.
    pub(super) fn fail(&self, status: u16, message: &str) -> Answer {
        failure(self.dialect, status, message, self.id)
    }

    /// The vendor's 400.
    pub(super) fn bad_request(&self, message: &str) -> Answer {
        self.fail(400, message)
    }

    /// The vendor's 404 for a path.
    pub(super) fn unknown_path(&self) -> Answer {
        unknown_path(self.dialect, self.request.method(), self.request.path(), self.id)
    }

    /// The vendor's 404 for a model in the path.
    pub(super) fn unknown_model(&self, name: &str) -> Answer {
        self.fail(404, &unknown_model(name))
    }

    /// A story told as a stream of `form`, or as the whole body that `put_whole` writes.
    pub(super) fn told(
        &self,
        story: Story,
        model: Model,
        form: Option<Form>,
        put_whole: fn(&mut Vec<u8>, &Story),
    ) -> Answer {
        if let Some(form) = form {
            let answer = Answer::stream(Narration::new(story, form));
            return answer.identified(self.dialect, self.id).behaving(model, &self.request);
        }
        let mut body = Vec::with_capacity(1024);
        put_whole(&mut body, &story);
        self.plain(model, Answer::json(body))
    }

    /// An answer without a stream, as `model` behaves.
    pub(super) fn plain(&self, model: Model, answer: Answer) -> Answer {
        if model == Model::LateError && matches!(answer.body, Body::Whole(_)) {
            return self.fail(500, &wording(500, "", None));
        }
        answer.identified(self.dialect, self.id).behaving(model, &self.request)
    }
}
