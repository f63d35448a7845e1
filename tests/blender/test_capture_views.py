"""What the views of a capture show: exact base colours, from the cameras that the file states."""

import addon_utils
import bmesh
import bpy
import numpy as np
import pytest
from mathutils import Matrix

from gvf_blender.capture import CaptureOptions, capture
from gvf_blender.capture.scene import UnlitScene
from gvf_blender.core.errors import RenderError
from gvf_core.capture import load_capture


@pytest.fixture
def views_of(empty_scene, tmp_path):
    """Render the views of an object."""

    def run(thing, **options):
        path = tmp_path / "capture.safetensors"
        capture(bpy.context, [thing], path, CaptureOptions(**{"views": 1, "size": 32, "samples": 1, **options}))
        return load_capture(path)

    return run


def solid(*boxes):
    """A mesh object of boxes given by (size, center)."""
    mesh = bpy.data.meshes.new("Solid")
    shape = bmesh.new()
    for size, center in boxes:
        bmesh.ops.create_cube(shape, size=1.0, matrix=Matrix.Translation(center) @ Matrix.Diagonal((*size, 1.0)))
    shape.to_mesh(mesh)
    shape.free()
    thing = bpy.data.objects.new("Solid", mesh)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def cube_of(material):
    thing = solid(((1, 1, 1), (0, 0, 0)))
    thing.data.materials.append(material)
    return thing


def principled_material(color=(0.8, 0.8, 0.8)):
    material = bpy.data.materials.new("Paint")
    if material.node_tree is None:
        material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")
    shader.inputs["Base Color"].default_value = (*color, 1.0)
    return material, shader


def add_node(tree, kind, **inputs):
    node = tree.nodes.new(kind)
    for name, value in inputs.items():
        node.inputs[name].default_value = value
    return node


def surface(tree):
    return tree.get_output_node("CYCLES").inputs["Surface"]


def srgb(linear):
    linear = np.asarray(linear, np.float64)
    return 255.0 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def center(file):
    rgba = file.views[0].rgba.astype(np.float64)
    height, width = rgba.shape[:2]
    return rgba[height // 2, width // 2]


def assert_shows(file, linear, alpha=1.0):
    np.testing.assert_allclose(center(file), [*srgb(linear), 255.0 * alpha], atol=2.0)


@pytest.mark.parametrize("color", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.5, 0.1, 0.02), (0.001, 0.9, 0.3)])
def test_a_base_color_comes_out_as_its_srgb_value_on_every_opaque_pixel(views_of, color):
    material, shader = principled_material(color)
    shader.inputs["Metallic"].default_value = 1.0
    shader.inputs["Roughness"].default_value = 0.1
    file = views_of(cube_of(material), views=3)
    for view in file.views:
        opaque = view.rgba[view.rgba[..., 3] == 255]
        assert len(opaque) > 50
        np.testing.assert_allclose(opaque[:, :3], np.broadcast_to(srgb(color), (len(opaque), 3)), atol=2.0)


def test_color_management_of_the_users_scene_does_not_change_the_views(views_of):
    bpy.context.scene.view_settings.view_transform = "AgX"
    bpy.context.scene.view_settings.exposure = 3.0
    assert_shows(views_of(cube_of(principled_material((0.2, 0.4, 0.6))[0])), (0.2, 0.4, 0.6))


def test_no_material_shows_blenders_default_gray(views_of):
    assert_shows(views_of(solid(((1, 1, 1), (0, 0, 0)))), (0.8, 0.8, 0.8))


def test_an_empty_material_slot_shows_blenders_default_gray(views_of):
    assert_shows(views_of(cube_of(None)), (0.8, 0.8, 0.8))


def test_a_material_without_a_surface_shows_its_viewport_color(views_of):
    material, _ = principled_material()
    material.node_tree.nodes.clear()
    material.diffuse_color = (0.1, 0.5, 0.9, 1.0)
    assert_shows(views_of(cube_of(material)), (0.1, 0.5, 0.9))


def test_a_material_on_the_object_wins_over_the_one_on_the_mesh(views_of):
    thing = cube_of(principled_material((1.0, 0.0, 0.0))[0])
    thing.material_slots[0].link = "OBJECT"
    thing.material_slots[0].material = principled_material((0.0, 1.0, 0.0))[0]
    assert_shows(views_of(thing), (0.0, 1.0, 0.0))


def test_each_face_shows_its_own_material(views_of):
    thing = cube_of(principled_material((1.0, 0.0, 0.0))[0])
    thing.data.materials.append(principled_material((0.0, 0.0, 1.0))[0])
    for face in thing.data.polygons:
        face.material_index = 1
    assert_shows(views_of(thing), (0.0, 0.0, 1.0))


def test_a_mix_of_colors_is_followed(views_of):
    material, shader = principled_material()
    tree = material.node_tree
    mix = tree.nodes.new("ShaderNodeMix")
    mix.data_type = "RGBA"
    colors = [socket for socket in mix.inputs if socket.type == "RGBA"]
    colors[0].default_value, colors[1].default_value = (1, 0, 0, 1), (0, 0, 1, 1)
    mix.inputs[0].default_value = 0.25
    result = next(socket for socket in mix.outputs if socket.type == "RGBA")
    tree.links.new(result, shader.inputs["Base Color"])
    assert_shows(views_of(cube_of(material)), (0.75, 0.0, 0.25))


def test_vertex_colors_are_followed(views_of):
    material, shader = principled_material()
    attribute = material.node_tree.nodes.new("ShaderNodeVertexColor")
    attribute.layer_name = "Paint"
    material.node_tree.links.new(attribute.outputs["Color"], shader.inputs["Base Color"])
    thing = cube_of(material)
    layer = thing.data.color_attributes.new("Paint", "FLOAT_COLOR", "POINT")
    layer.data.foreach_set("color", np.tile((0.3, 0.6, 0.1, 1.0), len(thing.data.vertices)))
    assert_shows(views_of(thing), (0.3, 0.6, 0.1))


def test_an_image_texture_is_followed(views_of):
    material, shader = principled_material()
    image = bpy.data.images.new("Checker", 4, 4)
    image.pixels.foreach_set(np.tile((0.2, 0.4, 0.6, 1.0), 16).astype(np.float32))
    texture = material.node_tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    material.node_tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    thing = cube_of(material)
    thing.data.uv_layers.new()
    np.testing.assert_allclose(center(views_of(thing)), [51, 102, 153, 255], atol=2.0)


@pytest.mark.parametrize("image", [None, "absent.png"])
def test_a_missing_image_is_reported_and_does_not_stop_the_capture(views_of, caplog, image):
    material, shader = principled_material()
    texture = material.node_tree.nodes.new("ShaderNodeTexImage")
    if image is not None:
        texture.image = bpy.data.images.new(image, 4, 4)
        texture.image.source, texture.image.filepath = "FILE", f"//{image}"
    material.node_tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    file = views_of(cube_of(material))
    assert center(file)[3] == 255
    assert (image or "Paint") in caplog.text


def test_a_shader_inside_a_group_is_made_unlit_too(views_of):
    group = bpy.data.node_groups.new("Varnish", "ShaderNodeTree")
    group.interface.new_socket("Tint", in_out="INPUT", socket_type="NodeSocketColor")
    group.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    source, target = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    inner = group.nodes.new("ShaderNodeBsdfPrincipled")
    group.links.new(source.outputs["Tint"], inner.inputs["Base Color"])
    group.links.new(inner.outputs[0], target.inputs["Shader"])
    material, _ = principled_material()
    tree = material.node_tree
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = group
    node.inputs["Tint"].default_value = (0.7, 0.2, 0.4, 1.0)
    tree.links.new(node.outputs["Shader"], surface(tree))
    assert_shows(views_of(cube_of(material)), (0.7, 0.2, 0.4))
    assert inner.outputs[0].is_linked


@pytest.mark.parametrize("kind", ["Diffuse", "Glossy", "Translucent", "Toon", "Glass", "Sheen"])
def test_every_plain_shader_shows_its_color(views_of, kind):
    material, _ = principled_material()
    tree = material.node_tree
    shader = add_node(tree, f"ShaderNodeBsdf{kind}", Color=(0.3, 0.5, 0.7, 1.0))
    tree.links.new(shader.outputs[0], surface(tree))
    assert_shows(views_of(cube_of(material)), (0.3, 0.5, 0.7))


def test_a_gloss_mixed_in_by_viewing_angle_is_left_out(views_of):
    material, shader = principled_material((0.3, 0.1, 0.1))
    tree = material.node_tree
    gloss = add_node(tree, "ShaderNodeBsdfGlossy", Color=(1, 1, 1, 1))
    fresnel = add_node(tree, "ShaderNodeFresnel", IOR=3.0)
    mix = tree.nodes.new("ShaderNodeMixShader")
    tree.links.new(fresnel.outputs[0], mix.inputs[0])
    tree.links.new(shader.outputs[0], mix.inputs[1])
    tree.links.new(gloss.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], surface(tree))
    assert_shows(views_of(cube_of(material)), (0.3, 0.1, 0.1))


@pytest.mark.parametrize("kind", ["Glossy", "Sheen"])
def test_a_gloss_that_is_added_to_another_surface_is_left_out(views_of, kind):
    material, shader = principled_material((0.3, 0.05, 0.05))
    tree = material.node_tree
    gloss, both = add_node(tree, f"ShaderNodeBsdf{kind}", Color=(1, 1, 1, 1)), tree.nodes.new("ShaderNodeAddShader")
    tree.links.new(shader.outputs[0], both.inputs[0])
    tree.links.new(gloss.outputs[0], both.inputs[1])
    tree.links.new(both.outputs[0], surface(tree))
    assert_shows(views_of(cube_of(material)), (0.3, 0.05, 0.05))


@pytest.mark.parametrize("names", [("Glossy", "Glossy"), ("Diffuse", "Translucent")])
def test_other_surfaces_that_are_added_show_their_sum(views_of, names):
    material, _ = principled_material()
    tree = material.node_tree
    both = tree.nodes.new("ShaderNodeAddShader")
    for name, color, target in zip(names, ((0.3, 0.1, 0.0), (0.0, 0.2, 0.4)), both.inputs, strict=True):
        closure = add_node(tree, f"ShaderNodeBsdf{name}", Color=(*color, 1.0))
        tree.links.new(closure.outputs[0], target)
    tree.links.new(both.outputs[0], surface(tree))
    assert_shows(views_of(cube_of(material)), (0.3, 0.3, 0.4))


def test_a_gloss_that_is_added_to_nothing_but_transparency_stays(views_of):
    material, _ = principled_material()
    tree = material.node_tree
    both = tree.nodes.new("ShaderNodeAddShader")
    for name, value, target in (("Glossy", 0.3, both.inputs[0]), ("Transparent", 0.0, both.inputs[1])):
        tree.links.new(add_node(tree, f"ShaderNodeBsdf{name}", Color=(value, value, value, 1.0)).outputs[0], target)
    tree.links.new(both.outputs[0], surface(tree))
    assert_shows(views_of(cube_of(material)), (0.3, 0.3, 0.3))


def material_reading(kind, output, **settings):
    """A material whose base colour is what a node says."""
    material, shader = principled_material()
    node = material.node_tree.nodes.new(kind)
    for name, value in settings.items():
        setattr(node, name, value)
    material.node_tree.links.new(node.outputs[output], shader.inputs["Base Color"])
    return material


def test_the_color_of_an_object_is_followed_also_when_it_is_keyed(views_of):
    thing = cube_of(material_reading("ShaderNodeObjectInfo", "Color"))
    for frame, color in ((1, (0.5, 0.1, 0.2, 1.0)), (11, (0.0, 0.0, 1.0, 1.0))):
        thing.color = color
        thing.keyframe_insert("color", frame=frame)
    bpy.context.scene.frame_set(1)
    assert_shows(views_of(thing), (0.5, 0.1, 0.2))


def test_the_index_of_an_object_is_followed(views_of):
    material, shader = principled_material()
    tree = material.node_tree
    info, part = tree.nodes.new("ShaderNodeObjectInfo"), tree.nodes.new("ShaderNodeMath")
    part.operation, part.inputs[1].default_value = "MULTIPLY", 0.1
    tree.links.new(info.outputs["Object Index"], part.inputs[0])
    tree.links.new(part.outputs[0], shader.inputs["Base Color"])
    thing = cube_of(material)
    thing.pass_index = 3
    assert_shows(views_of(thing), (0.3, 0.3, 0.3))


@pytest.mark.parametrize("kind", ["OBJECT", "INSTANCER"])
@pytest.mark.parametrize("is_on_mesh", [False, True])
def test_custom_properties_are_followed(views_of, kind, is_on_mesh):
    reading = material_reading("ShaderNodeAttribute", "Color", attribute_type=kind, attribute_name="tint")
    thing = cube_of(reading)
    owner = thing.data if is_on_mesh else thing
    owner["tint"], owner["note"] = (0.1, 0.6, 0.3), "not a number"
    assert_shows(views_of(thing), (0.1, 0.6, 0.3))


def test_custom_properties_of_what_makes_instances_come_before_those_of_the_object(views_of):
    reading = material_reading("ShaderNodeAttribute", "Fac", attribute_type="INSTANCER", attribute_name="gray")
    thing = cube_of(reading)
    thing["gray"] = 0.9
    library = bpy.data.collections.new("Library")
    library.objects.link(thing)
    bpy.context.scene.collection.objects.unlink(thing)
    empty = bpy.data.objects.new("Empty", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", library
    empty["gray"] = 0.2
    bpy.context.scene.collection.objects.link(empty)
    assert_shows(views_of(empty), (0.2, 0.2, 0.2))


@pytest.mark.parametrize("kind, output", [("ShaderNodeObjectInfo", "Random"), ("ShaderNodeNewGeometry", "Position")])
def test_what_a_capture_cannot_keep_is_reported(views_of, caplog, kind, output):
    views_of(cube_of(material_reading(kind, output)))
    assert f"> {output}, which a capture cannot keep" in caplog.text


def test_without_cycles_the_sentence_says_so(views_of):
    addon_utils.disable("cycles")
    try:
        with pytest.raises(RenderError, match="The Cycles renderer is disabled"):
            views_of(cube_of(principled_material()[0]))
    finally:
        addon_utils.enable("cycles")


def test_a_toon_material_through_shader_to_rgb_keeps_its_color(views_of):
    material, _ = principled_material()
    tree = material.node_tree
    diffuse = add_node(tree, "ShaderNodeBsdfDiffuse", Color=(0.2, 0.6, 0.4, 1.0))
    to_rgb, emission = tree.nodes.new("ShaderNodeShaderToRGB"), tree.nodes.new("ShaderNodeEmission")
    tree.links.new(diffuse.outputs[0], to_rgb.inputs[0])
    tree.links.new(to_rgb.outputs["Color"], emission.inputs["Color"])
    tree.links.new(emission.outputs[0], surface(tree))
    assert_shows(views_of(cube_of(material)), (0.2, 0.6, 0.4))


def test_a_bright_emission_keeps_its_color(views_of):
    material, _ = principled_material()
    tree = material.node_tree
    emission = add_node(tree, "ShaderNodeEmission", Color=(0.9, 0.3, 0.1, 1.0), Strength=20.0)
    tree.links.new(emission.outputs[0], surface(tree))
    assert_shows(views_of(cube_of(material)), (0.9, 0.3, 0.1))


def test_the_glow_of_a_principled_material_is_added_to_its_base_color(views_of):
    material, shader = principled_material((0.1, 0.2, 0.0))
    shader.inputs["Emission Color"].default_value = (0.0, 0.3, 0.5, 1.0)
    shader.inputs["Emission Strength"].default_value = 1.0
    assert_shows(views_of(cube_of(material)), (0.1, 0.5, 0.5))


def test_alpha_below_one_makes_the_view_transparent_with_straight_color(views_of):
    material, shader = principled_material((0.6, 0.2, 0.1))
    shader.inputs["Alpha"].default_value = 0.5
    # Seen through the front and the back of the cube.
    assert_shows(views_of(cube_of(material)), (0.6, 0.2, 0.1), alpha=0.75)


def test_a_linked_alpha_is_followed(views_of):
    material, shader = principled_material((0.6, 0.2, 0.1))
    value = material.node_tree.nodes.new("ShaderNodeValue")
    value.outputs[0].default_value = 0.0
    material.node_tree.links.new(value.outputs[0], shader.inputs["Alpha"])
    assert center(views_of(cube_of(material)))[3] == 0


def test_many_transparent_layers_do_not_turn_black(views_of):
    material, shader = principled_material((0.0, 1.0, 0.0))
    shader.inputs["Alpha"].default_value = 0.05
    thing = solid(*[((0.9 - 0.02 * layer,) * 3, (0, 0, 0)) for layer in range(20)])
    thing.data.materials.append(material)
    assert_shows(views_of(thing), (0.0, 1.0, 0.0), alpha=1.0 - 0.95**40)


def test_vertices_projected_by_the_stored_cameras_bound_the_rendered_silhouette(views_of):
    thing = solid(
        ((1.0, 0.5, 0.2), (0, 0, 0)), ((0.2, 0.2, 0.7), (0.3, 0.1, 0.4)), ((0.1, 0.8, 0.1), (-0.4, -0.3, 0.0))
    )
    thing.location, thing.rotation_euler, thing.scale = (3, -2, 5), (0.4, 0.2, 1.0), (2.0, 1.0, 3.0)
    file = views_of(thing, views=7, size=192, samples=4)
    assert len(file.views) == 7
    for view in file.views:
        pixels, depth = view.camera.project(file.vertices)
        assert depth.min() > 1.0
        rows, columns = np.nonzero(view.rgba[..., 3] > 127)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]), seen, atol=1.5)


def test_cameras_surround_the_asset_at_distance_two_with_z_up(views_of):
    file = views_of(solid(((1, 1, 1), (0, 0, 0))), views=12, size=16)
    positions = np.array([view.camera.position for view in file.views])
    np.testing.assert_allclose(np.linalg.norm(positions, axis=1), 2.0, atol=1e-5)
    assert np.abs(positions.mean(axis=0)).max() < 0.2
    for view in file.views:
        np.testing.assert_allclose(view.camera.world_to_camera[:3, :3] @ view.camera.position, (0, 0, -2), atol=1e-5)
        assert view.camera.world_to_camera[1, 2] < 0.0
        assert view.camera.intrinsics == pytest.approx((1.3737, 1.3737, 0.5, 0.5), abs=1e-4)


def test_mirrored_text_would_be_noticed(views_of):
    """A red box on the +x side lies on the right of a camera that looks from the front (-y)."""
    thing = solid(((1, 0.1, 0.1), (0, 0, 0)), ((0.2, 0.2, 0.2), (0.4, 0, 0)))
    thing.data.materials.append(principled_material((0, 0, 1))[0])
    thing.data.materials.append(principled_material((1, 0, 0))[0])
    for face in thing.data.polygons:
        face.material_index = int(face.index >= 6)
    file = views_of(thing, views=16, size=64, samples=4)
    front = min(file.views, key=lambda view: view.camera.position[1])
    red = np.argwhere((front.rgba[..., 0] > 200) & (front.rgba[..., 3] > 200))
    blue = np.argwhere((front.rgba[..., 2] > 200) & (front.rgba[..., 3] > 200))
    assert red[:, 1].mean() > blue[:, 1].mean() + 5


@pytest.mark.parametrize("samples", [1, 4])
def test_leaving_out_what_is_empty_changes_no_pixel(views_of, monkeypatch, samples):
    bpy.ops.mesh.primitive_monkey_add(rotation=(0.4, 1.0, 0.2))
    monkey = bpy.context.object
    material, shader = principled_material()
    checker = add_node(material.node_tree, "ShaderNodeTexChecker", Scale=17.0)
    material.node_tree.links.new(checker.outputs["Color"], shader.inputs["Base Color"])
    monkey.data.materials.append(material)
    parts = views_of(monkey, views=5, size=75, samples=samples)
    monkeypatch.setattr("gvf_blender.capture.session.occupied_region", lambda *_: (0.0, 1.0, 0.0, 1.0))
    whole = views_of(monkey, views=5, size=75, samples=samples)
    for part, view in zip(parts.views, whole.views, strict=True):
        assert 0 < (view.rgba[..., 3] == 0).mean() < 1
        np.testing.assert_array_equal(part.rgba, view.rgba)


def test_only_the_part_that_the_asset_can_touch_is_rendered(views_of, monkeypatch):
    regions = []
    look = UnlitScene.look_at_region
    monkeypatch.setattr(
        UnlitScene, "look_at_region", lambda scene, *region: (regions.append(region), look(scene, *region))
    )
    views_of(solid(((1, 0.1, 0.1), (0, 0, 0))), views=8, size=64)
    areas = [(right - left) * (top - bottom) for left, right, bottom, top in regions]
    assert len(areas) == 8 and max(areas) < 0.6 and min(areas) < 0.2
