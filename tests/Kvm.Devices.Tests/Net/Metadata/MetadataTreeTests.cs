using System.Text;
using Kvm.Devices.Net.Metadata;

namespace Kvm.Devices.Tests.Net.Metadata;

/// <summary>What may be asked for, in both forms.</summary>
public sealed class MetadataTreeTests
{
    private static MetadataTree Tree(string json) => MetadataTree.Parse(Encoding.UTF8.GetBytes(json), out var tree) is { } problem ? throw new InvalidOperationException(problem) : tree!;

    private static string? Find(MetadataTree tree, string path, bool json) => tree.Find(Encoding.UTF8.GetBytes(path), json, out var place) switch
    {
        MetadataFind.Found => Encoding.UTF8.GetString(tree.Bytes, place.Start, place.Length),
        MetadataFind.NotText => "(not text)",
        _ => null,
    };

    [Theory]
    [InlineData("/", "latest/\nname", """{"latest":{"meta-data":{"ami-id":"ami-1","list":["x",{"y":"z"}],"n":43,"tags":{"a/b":"slash","t~":"tilde"}}},"name":"Zoë \" A"}""")]
    [InlineData("", "latest/\nname", null)]
    [InlineData("/latest", "meta-data/", null)]
    [InlineData("/latest/meta-data/", "ami-id\nlist\nn\ntags/", null)]
    [InlineData("//latest///meta-data//ami-id//", "ami-1", "\"ami-1\"")]
    [InlineData("/name", "Zoë \" A", "\"Zoë \\\" A\"")]
    [InlineData("/latest/meta-data/n", "(not text)", "43")]
    [InlineData("/latest/meta-data/list", "(not text)", """["x",{"y":"z"}]""")]
    [InlineData("/latest/meta-data/list/0", "x", "\"x\"")]
    [InlineData("/latest/meta-data/list/1/y", "z", "\"z\"")]
    [InlineData("/latest/meta-data/list/2", null, null)]
    [InlineData("/latest/meta-data/tags/a~1b", "slash", "\"slash\"")]
    [InlineData("/latest/meta-data/tags/t~0", "tilde", "\"tilde\"")]
    [InlineData("/latest/meta-data/tags/t~", "tilde", "\"tilde\"")]
    [InlineData("/latest/meta-data/tags/a", null, null)]
    [InlineData("/latest/meta-data/ami-id/x", null, null)]
    [InlineData("/Latest", null, null)]
    [InlineData("/late", null, null)]
    [InlineData("/latest2", null, null)]
    public void Value_is_found_by_its_pointer_in_both_forms(string path, string? plain, string? json)
    {
        var tree = Tree(MetadataGuest.Data);
        Find(tree, path, json: false).Should().Be(plain);
        if (json is not null || plain is null)
            Find(tree, path, json: true).Should().Be(json);
    }

    [Fact]
    public void Values_of_all_kinds_are_there_as_JSON()
    {
        var tree = Tree("""{"a": null, "b": true, "c": 1.50e3, "d": "", "e": {}, "f": [], "dup": 1, "dup": 2}""");
        Find(tree, "/", json: true).Should().Be("""{"a":null,"b":true,"c":1.50e3,"d":"","dup":2,"e":{},"f":[]}""");
        Find(tree, "/d", json: false).Should().BeEmpty();
        Find(tree, "/e", json: false).Should().BeEmpty();
        Find(tree, "/a", json: false).Should().Be("(not text)");
        Find(tree, "/b", json: true).Should().Be("true");
    }

    [Theory]
    [InlineData("[]", "is no object")]
    [InlineData("3", "is no object")]
    [InlineData("", "is no valid JSON")]
    [InlineData("{", "is no valid JSON")]
    [InlineData("{} {}", "is no valid JSON")]
    [InlineData("""{"a": "\ud800"}""", "is no valid JSON")]
    public void What_is_no_object_of_JSON_says_so(string json, string why)
    {
        MetadataTree.Parse(Encoding.UTF8.GetBytes(json), out var tree).Should().StartWith(why);
        tree.Should().BeNull();
    }

    [Fact]
    public void Too_many_levels_and_too_many_bytes_are_refused_and_the_most_are_not()
    {
        string Deep(int levels) => string.Concat(Enumerable.Repeat("{\"a\":", levels - 1)) + "{}" + new string('}', levels - 1);
        MetadataTree.Parse(Encoding.UTF8.GetBytes(Deep(MetadataTree.MostLevels)), out _).Should().BeNull();
        MetadataTree.Parse(Encoding.UTF8.GetBytes(Deep(MetadataTree.MostLevels + 1)), out _).Should().StartWith("is no valid JSON");
        byte[] large = Encoding.UTF8.GetBytes($$"""{"a": "{{new string('x', MetadataTree.MostBytes - 9)}}"}""");
        MetadataTree.Parse(large, out _).Should().BeNull();
        MetadataTree.Parse([.. large, (byte)' '], out _).Should().Contain("1048577 bytes");
    }
}
