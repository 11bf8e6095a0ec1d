"""Published sets that test what long-range physics is for: charge states, latent charges, binding curves, uniform fields.

The sets come from their authors (named in the files of `cgdft/validation/published`); no file of them is part of this
package. With them in a folder, `python -m cgdft.validation.published FOLDER` trains every architecture of
`cgdft.learning.architectures` on one network and one budget per set and compares them on frames outside the range of the
training, or on quantities that were not trained on.
"""
