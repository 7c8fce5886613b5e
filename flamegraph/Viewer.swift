/// The JavaScript function `showFlamegraph(root, given, host)`, which makes a flamegraph fluid and interactive: in a picture, which calls it
/// once, and in a page that draws what is selected in it, which calls it for each selection. `model.js` says what it takes and returns.
///
/// It is complete and strict, never changes with a profile, and can stand in character data of XML and in a `<script>`.
public let viewerFunction: [UInt8] =
    Array("function showFlamegraph(root, given, host) {\n\"use strict\";\n".utf8)
    + [
        PackageResources.model_js, PackageResources.viewer_js, PackageResources.commands_js, PackageResources.rectangles_js,
        PackageResources.boxes_js, PackageResources.interaction_js,
    ].joined(separator: "\n".utf8) + Array("}\n".utf8)

/// The script of every interactive picture, byte for byte: its hash admits it under a content security policy.
///
/// It is one block, so that nothing of it is visible to a page around the picture or to a second picture.
public let viewerScript: [UInt8] = Array("\"use strict\";\n{\n".utf8) + viewerFunction + PackageResources.svg_js + Array("}\n".utf8)

/// The JavaScript functions that a page needs besides `viewerFunction` and the JSON of `ProfileNames`, to draw stacks of its own:
/// `flamegraphSkeleton(document, profile)` (`skeleton.js`), `orderedStacks(callers, frames, names)` and
/// `boxesOf(stacks, weights, options)` (`stacks.js`).
public let pageStacksScript: [UInt8] = PackageResources.skeleton_js + Array("\n".utf8) + PackageResources.stacks_js

/// The style sheet of every picture and of every flamegraph in a page, byte for byte.
public let viewerStyle: [UInt8] = PackageResources.viewer_css
